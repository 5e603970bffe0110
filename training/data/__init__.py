"""Training data: token streams of pieces, their augmentation, and batches with carried state."""
