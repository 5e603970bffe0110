"""Playback: audio chunks of a piece, updates for the player component, and the player itself."""
