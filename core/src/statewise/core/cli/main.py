"""The `statewise` command: what is installed, how fast it is here, and which layers there are."""

from __future__ import annotations

from statewise.core import __version__
from statewise.core.cli.app import App

__all__ = ["app", "main"]

app = App(
    "statewise",
    summary="Recurrent and state-space sequence models: this machine, its layers, their speed.",
    version=__version__,
)


def main() -> int:
    """Run the command line and return its exit code."""
    return app.run()


if __name__ == "__main__":
    raise SystemExit(main())
