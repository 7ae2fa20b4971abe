"""statewise.speech."""
