"""Benchmarks: each is a command that prints a table and, with `--json`, writes its figures.

Documents quote only figures that one of these commands prints. No other package imports this one.
"""
