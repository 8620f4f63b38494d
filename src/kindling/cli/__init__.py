"""The command line: `dispatch.py` starts it, and each command has a file."""

from kindling.cli.dispatch import main as main
