"""The tags under which TensorBoard's files have what is logged: its first tab sorts by them, and opens on two groups.

These two are to be `train` and `val`, the curves. What sorts before them gets a group whose name comes later: single
values (`best/val_loss`, `test/loss`) and figures of the test go to `when trained`, rates and norms to `while training`.
"""

import re

WHEN_TRAINED, WHILE_TRAINING = "when trained/", "while training/"
SINGLE = re.compile(r"best/|test/")
OF_STEPS = re.compile(r"learning_rate|gradient_norm|lr-|DeviceStatsMonitor")  # the last two are Lightning's callbacks'


def tag_of(name: str) -> str:
    """The tag in TensorBoard's files for the name of a metric or a figure."""
    if SINGLE.match(name):
        return WHEN_TRAINED + name
    return WHILE_TRAINING + name if OF_STEPS.match(name) else name


def name_of(tag: str) -> str:
    """The name of the metric or figure that has a tag; tags of older runs are names."""
    return tag.removeprefix(WHEN_TRAINED).removeprefix(WHILE_TRAINING)
