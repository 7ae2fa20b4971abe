"""What every command shares: options, errors, exit codes, console and JSON output."""

from statewise.core.cli.app import App
from statewise.core.cli.console import Console

__all__ = ["App", "Console"]
