"""The parts of `scripts/kindling/benchmark.py`, one a file; read turns.py (how time is taken) and report.py first."""
