"""Sets of images that are drawn by a program, the same on every machine."""
