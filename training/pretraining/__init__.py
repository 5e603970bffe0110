"""Pre-training: a new network from the token file of `training.prepare`."""
