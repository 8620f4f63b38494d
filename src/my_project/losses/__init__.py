"""Losses that `torch.nn` lacks: one a file."""
