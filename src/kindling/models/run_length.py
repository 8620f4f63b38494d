"""What depends on how long a training is, and is settled when it starts: schedules, and how often it logs."""

import math

import lightning as L


def steps_of(trainer: L.Trainer) -> float:
    """How many steps each optimiser takes in a training; infinity if that is unknown."""
    steps = trainer.estimated_stepping_batches
    if steps < 0:  # Lightning's answer where the data has no length, and max_steps is not set
        return math.inf
    optimizers = len(trainer.optimizers)
    if trainer.lightning_module.automatic_optimization or optimizers < 2 or trainer.max_steps < 0:
        return steps
    # Lightning counts the steps of all optimisers against max_steps; as a rule each takes one per batch.
    epochs = math.inf if trainer.max_epochs in (None, -1) else trainer.max_epochs
    return min(math.ceil(trainer.max_steps / optimizers), trainer.num_training_batches * epochs)


def adapt_to_run_length(trainer: L.Trainer) -> None:
    """Tell the schedules how long the run is, and log each epoch at least once, as far as its length is known.

    A schedule with a method `start` gets the number of steps; its attribute `interval` says when it steps. Call it
    when the training starts; a second call changes nothing.

    Raises:
        MisconfigurationException: if a schedule spans the run, but the end of the run is unknown.
    """
    for config in trainer.lr_scheduler_configs:
        config.interval = getattr(config.scheduler, "interval", config.interval)
        if hasattr(config.scheduler, "start"):
            config.scheduler.start(steps_of(trainer))
    steps_of_epoch = trainer.num_training_batches / trainer.accumulate_grad_batches
    shortest = min(trainer.log_every_n_steps, steps_of_epoch, steps_of(trainer))  # type: ignore[attr-defined]
    trainer.log_every_n_steps = math.ceil(shortest)  # type: ignore[attr-defined]
