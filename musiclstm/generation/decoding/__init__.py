"""Decoding: grammar masks, sampling, decoder states and the token loop."""
