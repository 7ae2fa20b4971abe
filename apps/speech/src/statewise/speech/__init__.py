"""Speech enhancement and separation that stream."""

__version__ = "0.1.0"
