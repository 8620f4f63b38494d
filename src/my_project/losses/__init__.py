"""Losses that `torch.nn` lacks: one per file."""
