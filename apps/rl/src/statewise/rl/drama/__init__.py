"""Drama: a world model on a state space backbone, and a policy that is trained in its imagination."""
