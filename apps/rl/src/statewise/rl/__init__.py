"""statewise.rl."""
