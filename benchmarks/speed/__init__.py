"""Benchmarks of speed and memory: decoding, training, reading files, and the page."""
