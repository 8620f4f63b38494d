"""The parts of `scripts/kindling/benchmark.py`, one a file; turns.py (how time is taken) and report.py (what is shown) first."""
