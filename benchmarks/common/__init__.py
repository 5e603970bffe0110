"""Shared parts: reports, held-out pieces, note matching, and a client of the page."""
