"""Sequential recommendation from an event log; not built yet."""

__version__ = "0.1.0"
