"""Named public recordings to train on. None is shipped and each has to be fetched by its package manager."""

from __future__ import annotations

from statewise.core.datasets import Dataset

__all__ = ["DATASETS"]


def _prompts(language: str, voice: str, minutes: int, licence: str, size: int, sha256: str) -> Dataset:
    """A Debian package of studio prompts, without an address: `apt-get download` fetches the file."""
    package = f"asterisk-core-sounds-{language}-g722"
    return Dataset(
        summary=f"{minutes} min of studio speech, 16 kHz G.722 (50 to 7000 Hz)",
        file=f"{package}_1.6.1-1_all.deb",
        sha256=sha256,
        licence=licence,
        credit=f"{voice}; Asterisk core sounds, Digium, Inc.; apt-get download {package}",
        size=size,
    )


DATASETS: dict[str, Dataset] = {
    "asterisk-en": _prompts(
        "en",
        "Allison Smith",
        25,
        "CC BY-SA 3.0",
        10_565_860,
        "38c5261820b406dcb0ecb37675720da2b0864850690690352ca52707eb623806",
    ),
    "asterisk-es": _prompts(
        "es",
        "Allison Smith",
        30,
        "CC BY-SA 3.0",
        13_048_380,
        "e4e3b4281057d3b81b779298fd6be705f57411513955c518eed1bcaabbd615b8",
    ),
    "asterisk-fr": _prompts(
        "fr",
        "June Wallack",
        25,
        "CC BY-SA 3.0",
        10_822_860,
        "7add61d5e42279ecff1bbdf842a5a946ac3644fac9a0fe44384731aa7270c8e0",
    ),
    "asterisk-it": _prompts(
        "it",
        "Carlo Flora",
        23,
        "CC BY 3.0",
        10_087_176,
        "46b4cf7afc508a5fcfc051b7ea233251c0d195dd4ef83cc4b7facb4c6429b016",
    ),
}
