"""Kindling: a PyTorch Lightning template that trains on real data with one command."""

__version__ = "0.1.0"
