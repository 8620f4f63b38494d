"""The command line: `kindling fit | validate | test`. This file starts fast; `commands.py` does the work."""

import logging
import os
import sys
import warnings

from kindling import __version__
from kindling.arguments import read_arguments
from kindling.runs import NothingToDo, UsageError

HELP = """\
usage: kindling COMMAND [--config FILE …] [--KEY VALUE …]

Train and use deep-learning models. Commands:
  fit        train, keep the best checkpoint, test it
  validate   measure a run's checkpoint on the validation split
  test       measure a run's checkpoint on the test split

Examples:
  kindling fit --config configs/digits_mlp.yaml --trainer.max_epochs 5
  kindling fit --config configs/digits_resnet.yaml --config configs/trainer/gpu.yaml
  kindling fit --config configs/digits_mlp.yaml --find lr
  kindling fit --resume lightning_logs/digits_mlp/version_0
  kindling test --run latest

Everything a command takes: kindling fit --help.
What a model, a data set or a task takes: kindling fit --model.help MLP.
"""


def main(argv: list[str] | None = None) -> int:
    """Run a command; return the exit code: 0, or 2 for bad input, told in one sentence on stderr."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0
    if argv[0] in ("-V", "--version"):
        print(f"kindling {__version__}")
        return 0
    try:
        arguments = read_arguments(argv)
        if "PYTHONWARNINGS" not in os.environ:  # noise to a newcomer; PYTHONWARNINGS=default shows it
            warnings.simplefilter("ignore")
        from kindling.commands import KindlingCLI  # takes seconds to import

        for library in ("lightning.pytorch", "lightning.fabric"):  # tips and adverts
            logging.getLogger(library).setLevel(logging.ERROR)
        # Lightning sets this, and where there is no GPU torch then opens the driver's library at every optimiser step.
        os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)
        KindlingCLI(arguments)
    except NothingToDo as done:
        print(f"nothing to do: {done}")
    except UsageError as error:
        if "KINDLING_TRACEBACK" in os.environ:
            raise
        print(f"kindling: {error}", file=sys.stderr)
        return 2
    return 0
