"""The `statewise` command: what is installed, how fast it is here, and which layers there are."""

from __future__ import annotations

from statewise.core import __version__
from statewise.core.cli.app import App

__all__ = ["app", "main"]

app = App(
    "statewise",
    summary="Recurrent and state-space sequence models: this machine, the layers, their speed.",
    version=__version__,
)
app.command(
    "statewise.core.cli.doctor:doctor", summary="Show versions, the machine, backends, and what is wrong."
)
app.command("statewise.core.cli.layers:layers", summary="List the layers, or the settings of one.")
app.command("statewise.core.cli.bench:bench", summary="Measure the operators on this machine.")
app.command("statewise.core.cli.warmup:warmup", summary="Compile the CPU kernels ahead.")


def main() -> int:
    """Run the command line and return its exit code."""
    return app.run()


if __name__ == "__main__":
    raise SystemExit(main())
