"""Image and clip models with linear cost in resolution; not built yet."""

__version__ = "0.1.0"
