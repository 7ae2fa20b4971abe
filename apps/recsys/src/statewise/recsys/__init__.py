"""Sequential recommendation from an event log."""

__version__ = "0.1.0"
