"""Benchmarks of robustness: killed training runs, failing writes, malformed files."""
