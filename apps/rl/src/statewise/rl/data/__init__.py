"""Recorded episodes: reading, checking and writing them."""
