"""The training: trainer, loop, exact resume, signals and faults."""
