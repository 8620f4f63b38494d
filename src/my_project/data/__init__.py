"""Data: one kind of data per file."""
