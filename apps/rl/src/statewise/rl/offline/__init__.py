"""Learning from recorded episodes: sequence policies conditioned on returns, and behaviour cloning."""
