"""Classes for whole series: readers of labelled panels, methods, and `forecast classify`."""
