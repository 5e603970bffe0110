"""Training data: read corpora, augment pieces, and build windows whose state is carried."""
