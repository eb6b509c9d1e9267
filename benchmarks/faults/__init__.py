"""A fault campaign against Errata; `python -m benchmarks.faults` runs it."""
