"""Benchmarks of the music and of the model: bits per note, memorization, constraints, tokens."""
