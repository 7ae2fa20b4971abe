"""The characters that separate fields, by the words a person types for them."""

from __future__ import annotations

from statewise.core.config import require

__all__ = ["separator"]

_WORDS = {
    "comma": ",",
    "semicolon": ";",
    "tab": "\t",
    "\\t": "\t",
    "pipe": "|",
    "bar": "|",
    "space": " ",
}


def separator(word: str) -> str:
    """The character meant by `word`; a blank stands for any run of blanks.

    Raises:
        ConfigError: it is none that can separate fields.
    """
    sign = _WORDS.get(word.lower(), word)
    one = len(sign) == 1 and not sign.isalnum() and sign not in '"\r\n.-+'
    require(one, "delimiter", word, "one of , ; tab | space")
    return sign
