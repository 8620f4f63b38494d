"""The run: one folder that holds all that one training produced."""
