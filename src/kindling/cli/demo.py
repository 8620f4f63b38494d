"""`kindling demo [--KEY VALUE …]`: train a ResNet on real handwritten digits, test it, and say where everything is.

It takes 20 seconds on 2 CPU cores, and needs no network. Takes what fit takes, such as --trainer.max_epochs 2.
"""

from pathlib import Path

from kindling.cli.arguments import read_arguments
from kindling.cli.dispatch import tame_lightning
from kindling.core.errors import UsageError
from kindling.core.files import is_file
from kindling.core.parts import TEMPLATE

EXPERIMENT = "digits_resnet.yaml"


def main(argv: list[str]) -> None:
    if {"-h", "--help"} & {*argv}:
        print(__doc__, end="")
        return
    arguments = read_arguments(["fit", "--config", str(experiment()), *argv])
    from kindling.cli import fit  # takes seconds, and has Lightning talk

    tame_lightning()
    fit.main(arguments)


def experiment() -> Path:
    """The experiment's file: that of this folder, or the one that the engine's wheel brings.

    Raises:
        UsageError: if there is neither.
    """
    for folder in (Path("configs"), TEMPLATE / "configs"):
        if is_file(folder / EXPERIMENT):
            return folder / EXPERIMENT
    raise UsageError(f"configs/{EXPERIMENT} is not in {Path.cwd()}: start kindling demo in the folder of a clone")
