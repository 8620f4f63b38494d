"""The engine's own wheel has the template in it, and carries a project that lies elsewhere."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from clones import git, make_clone, make_environment, needs_git, needs_posix, run, succeed

from kindling import __version__
from kindling.core.template import files_of

pytestmark = needs_git
QUIET_PIP = ("-m", "pip", "--quiet", "--disable-pip-version-check")
PYPROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "stars"
version = "0.1.0"
dependencies = ["kindling"]

[project.entry-points."kindling.projects"]
stars = "stars"
"""
PROJECT = '''\
"""Stars: a project that has the engine from an index."""

import torch
from torch import Tensor, nn

from kindling import Data, Model


class Line(Model):
    """One linear layer: (B, F) float32 → (B, outputs)."""

    def __init__(self, **model) -> None:
        super().__init__(**model)
        self.head = nn.Linear(self.input_shape[0], self.num_outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(inputs)


class Stars(Data):
    """A hundred stars: is one bright?"""

    classes = ["faint", "bright"]

    def load(self) -> tuple[Tensor, Tensor]:
        stars = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
        return stars, (stars[:, 0] > 0).long()
'''


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clone(tmp_path_factory.mktemp("clone"))


@pytest.fixture(scope="module")
def wheel(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    built = Path(succeed(clone, sys.executable, "scripts/kindling/build_wheel.py", folder).strip())
    assert list(folder.iterdir()) == [built]
    assert git(clone, "status", "--porcelain") == ""
    return built


def test_the_wheel_is_the_engine_with_what_a_project_begins_with(wheel: Path, clone: Path) -> None:
    assert wheel.name == f"kindling-{__version__}-py3-none-any.whl"
    tracked = git(clone, "ls-files").splitlines()
    engine = {path.removeprefix("src/") for path in tracked if path.startswith("src/kindling/")}
    template = {f"kindling/template/{path}" for path in files_of(clone)}
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        assert names == engine | template
        assert {"kindling/py.typed", "kindling/template/src/my_project/__init__.py"} <= names
        assert not [name for name in names if name.startswith("kindling/template/docs/")]
        for name in ("pyproject.toml", ".ci/run", ".gitignore", "tests/conftest.py", "tests/my_project/test_data.py"):
            assert archive.read(f"kindling/template/{name}") == (clone / name).read_bytes()


def test_it_needs_what_the_repository_needs(wheel: Path, clone: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        information = f"kindling-{__version__}.dist-info"
        metadata = archive.read(f"{information}/METADATA").decode()
        points = archive.read(f"{information}/entry_points.txt").decode()
    needed = [line.removeprefix("Requires-Dist: ") for line in metadata.splitlines() if line.startswith("Requires-D")]
    dependencies = (clone / "pyproject.toml").read_text().partition("\ndependencies = [\n")[2].partition("\n]\n")[0]
    names = [line.split('"')[1] for line in dependencies.splitlines()]
    assert "lightning<2.7,>=2.6.6" in needed
    assert len([line for line in needed if "extra ==" not in line]) == len(names)
    extras = {"", "export", "hf", "hub", "mlflow", "shards", "sweep", "text", "timm", "wandb"}
    assert {line.partition("extra == ")[2].strip("\"'") for line in needed} == extras
    assert points.split() == ["[console_scripts]", "kindling", "=", "kindling.cli:main"]


def test_the_distribution_of_the_repository_has_both_packages(clone: Path, tmp_path: Path) -> None:
    command = (*QUIET_PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, ".")
    succeed(clone, sys.executable, *command)
    (built,) = tmp_path.iterdir()
    with zipfile.ZipFile(built) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    tracked = git(clone, "ls-files", "src").splitlines()
    assert "kindling/py.typed" in names
    assert names == {path.removeprefix("src/") for path in tracked}


def test_other_arguments_print_the_help(clone: Path) -> None:
    script = clone / "scripts" / "kindling" / "build_wheel.py"
    for arguments, code in ((["--help"], 0), ([], 2), (["a", "b"], 2)):
        finished = run(clone, sys.executable, script, *arguments)
        assert (finished.returncode, finished.stderr) == (code, "")
        assert finished.stdout.startswith("Builds the engine's own wheel")


@pytest.mark.slow
@needs_posix
def test_a_project_runs_on_the_installed_wheel(wheel: Path, tmp_path: Path) -> None:
    programs = make_environment(tmp_path / "environment")
    python = programs / "python"
    succeed(tmp_path, python, *QUIET_PIP, "install", "--no-deps", wheel)
    where = succeed(tmp_path, python, "-c", "import kindling; print(kindling.__file__)")
    assert str(tmp_path / "environment") in where

    project = tmp_path / "stars"
    (project / "src" / "stars").mkdir(parents=True)
    (project / "pyproject.toml").write_text(PYPROJECT)
    (project / "src" / "stars" / "__init__.py").write_text(PROJECT)
    succeed(project, python, *QUIET_PIP, "install", "--no-deps", "--no-build-isolation", "-e", ".")
    few = ["--trainer.fast_dev_run", "1", "--trainer.accelerator", "cpu"]
    trained = fit(project, programs, *few)
    assert (trained.returncode, trained.stderr) == (0, "")
    assert "Stars (3 → 2 classes; " in trained.stdout
    assert "debug run" in trained.stdout


def fit(project: Path, programs: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    return run(project, programs / "kindling", "fit", "--model", "Line", "--data", "Stars", *flags)
