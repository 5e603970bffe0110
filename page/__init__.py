"""The parts that the page is made of.

Nothing here composes, reads a file or makes sound; what is shown and heard is handed over.
"""
