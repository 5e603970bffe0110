"""The page: layout, event handlers, sessions, player and server.

It uses the library for reading, composing and rendering.
"""
