"""Speech enhancement and separation that stream; not built yet."""

__version__ = "0.1.0"
