"""The shared core of statewise: recurrences, layers, training and the manners of the command line."""

__version__ = "0.1.0"
