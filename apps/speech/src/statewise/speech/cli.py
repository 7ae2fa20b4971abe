"""The `speech` command: a name that is taken, not a program yet."""

from __future__ import annotations

from statewise.core.cli import App
from statewise.core.cli.options import Anything, Terminal
from statewise.core.errors import UserError
from statewise.speech import __version__

__all__ = ["app", "main"]

app = App(
    "speech", summary="Speech enhancement and separation that stream (not built yet).", version=__version__
)


@app.default
def unbuilt(*words: Anything, console: Terminal) -> None:
    """Say that there is nothing to run yet."""
    raise UserError(f"speech is not built yet in version {__version__}")


def main() -> int:
    """Run the command line and return its exit code."""
    return app.run()


if __name__ == "__main__":
    raise SystemExit(main())
