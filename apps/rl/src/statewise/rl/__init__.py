"""World models, sequence policies and memory agents on recurrent state."""

__version__ = "0.1.0"
