"""The Trainer with carried state: callbacks, checkpoints, averaged weights, learning rates."""
