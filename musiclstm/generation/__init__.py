"""Composing: grammar of the tokens, sampling, constraints, loudness, and the decode loop."""
