"""Bits per note, and metrics of continuations of held-out pieces."""
