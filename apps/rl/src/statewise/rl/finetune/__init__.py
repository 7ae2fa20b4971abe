"""Going on in the environment from what was learnt from data: the second procedure of Decision S4."""
