"""LSSVWM, a long-memory video world model. It knows tensors, not environments."""
