"""Benchmarks of the bridge: one question per file, one JSON line out. See README.md."""
