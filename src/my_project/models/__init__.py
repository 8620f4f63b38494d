"""Models: one architecture per file."""
