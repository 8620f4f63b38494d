"""The parts of `scripts/kindling/benchmark.py`, one a file.

Read first turns.py (how time is taken) and report.py (what is shown).
"""
