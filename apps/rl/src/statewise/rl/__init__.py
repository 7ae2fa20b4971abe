"""World models, sequence policies and memory agents; not built yet."""

__version__ = "0.1.0"
