"""Repeatable measurements: commands that print the tables quoted in the documents.

A document states no figure without the command that prints it. No other package imports these.
"""
