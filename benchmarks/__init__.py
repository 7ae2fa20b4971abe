"""Measurements with committed results.

`python -m benchmarks.<app>.<name>` writes JSON beside its script and a page in docs/benchmarks.
"""
