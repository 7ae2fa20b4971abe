"""statewise.vision."""
