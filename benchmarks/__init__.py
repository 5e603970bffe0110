"""Measurements one can repeat: every command prints the table that the documents quote.

Uses musiclstm's public names and training; nothing in the project uses these. A figure without the
command that printed it does not go into a document.
"""
