"""What a project of one's own may be called."""

import builtins
import keyword
import re
import sys
from pathlib import Path

from kindling.core.errors import UsageError
from kindling.core.parts import ENGINE

# What dependencies and tools are imported as, commands that would be hidden, modules of the tests, folders of builds.
OTHERS = """torch torchvision torchmetrics functorch torchgen lightning lightning_utilities pytorch_lightning tqdm
jsonargparse yaml pyyaml tensorboard rich numpy scipy pandas matplotlib seaborn sklearn scikit_learn fsspec
packaging setuptools pillow PIL pyarrow datasets litdata tokenizers onnx onnxruntime onnxscript importlinter grimp
fastapi httpx timm transformers peft optuna wandb mlflow sqlalchemy alembic filelock jinja2 shtab
pytest conftest model_cases project_parts stand_ins clones simple_modules class_places cookbook_pages interrupted
launches recording_logger windows_like
mypy ruff pre_commit sphinx myst_parser pydata_sphinx_theme pip python python3 git make build dist venv wheels"""
TAKEN = {"test", *sys.stdlib_module_names, *dir(builtins), *OTHERS.split()}  # Python leaves `test` out of its own list


def check_name(name: str, template: Path) -> None:
    """See that a package can be called so beside Python, the engine, and the folders of the template.

    Raises:
        UsageError: with the rule that the name breaks.
    """
    if not re.fullmatch("[a-z]([a-z0-9_]{0,38}[a-z0-9])?", name) or keyword.iskeyword(name):
        raise UsageError(f"{name!r} can't name a Python package: use up to 40 of a-z, 0-9 and _, such as galaxies")
    if name in TAKEN or ENGINE in name or (template / name).exists() or (template / "src" / name).exists():
        raise UsageError(f"{name!r} is taken by Python, a tool, a dependency or a folder here: choose another name")


def title_of(name: str) -> str:
    return " ".join(word.capitalize() for word in name.split("_"))
