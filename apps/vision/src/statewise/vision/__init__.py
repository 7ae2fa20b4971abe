"""Image and clip models with linear cost in resolution."""

__version__ = "0.1.0"
