"""Readable definitions of what the core computes, in Python; property tests compare the two."""
