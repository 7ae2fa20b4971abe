"""statewise.recsys."""
