"""Data: one kind of data a file."""
