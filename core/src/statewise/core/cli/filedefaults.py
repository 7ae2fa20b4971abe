"""`--config FILE`: values in a file that stand for options nobody typed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from cyclopts import App, ArgumentCollection
from cyclopts.config import Dict

from statewise.core.errors import ConfigError, suggestion

__all__ = ["FileDefaults"]


class FileDefaults:
    """The settings of a configuration file, handed to cyclopts while it binds a command's parameters.

    Keys are the names of the command's parameters, with hyphens or underscores. A table named after a command
    holds settings for that command only, so that one file can serve several; null means the default.

    Args:
        path: the file, for messages.
        values: what it holds.
        commands: the names of all commands.
    """

    def __init__(self, path: Path, values: Mapping[str, Any], commands: Collection[str]) -> None:
        self.path = path
        self._values = values
        self._commands = commands

    def __call__(self, app: App, chain: tuple[str, ...], arguments: ArgumentCollection) -> None:
        """Fill the arguments that the command line left open.

        Raises:
            ConfigError: for a key that is no parameter of the command.
        """
        names = [name for argument in arguments if argument.parse for name in argument.names]
        known = [name.removeprefix("--") for name in names if name.startswith("--")]
        settings = self._settings(app.name)
        for key in settings:
            if key not in known:
                raise ConfigError(
                    f"'{' '.join(chain) or app.name[0]}' has no setting '{key}'",
                    where=str(self.path),
                    expected=f"one of {', '.join(name for name in known if not name.startswith('no-'))}",
                    fix=suggestion(key, known),
                )
        Dict(settings, source=str(self.path), use_commands_as_keys=False)(app, chain, arguments)

    def _settings(self, names: Collection[str]) -> dict[str, Any]:
        general = {key: value for key, value in self._values.items() if not self._is_section(key, value)}
        sections = [self._values[name] for name in names if self._is_section(name, self._values.get(name))]
        merged = general | {key: value for section in sections for key, value in section.items()}
        return {key.replace("_", "-"): value for key, value in merged.items() if value is not None}

    def _is_section(self, key: str, value: Any) -> bool:
        return key in self._commands and isinstance(value, Mapping)
