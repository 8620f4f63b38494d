"""The engine's own wheel has the template in it, and carries a project that lies elsewhere."""

import sys
import zipfile
from pathlib import Path

import pytest
from clones import git, make_clone, make_environment, needs_git, needs_posix, run, succeed

from kindling import __version__
from kindling.core.template import files_of

pytestmark = needs_git
QUIET_PIP = ("-m", "pip", "--quiet", "--disable-pip-version-check")


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
def test_examples_and_a_new_project_work_on_the_installed_wheel(wheel: Path, tmp_path: Path) -> None:
    programs = make_environment(tmp_path / "environment")
    python = programs / "python"
    succeed(tmp_path, python, *QUIET_PIP, "install", "--no-deps", wheel)
    few = ["--trainer.fast_dev_run", "1", "--trainer.accelerator", "cpu"]
    tried = succeed(tmp_path, programs / "kindling", "fit", "--model", "MLP", "--data", "Wine", *few)
    assert "MLP (" in tried  # the examples in the wheel, as no project is installed
    assert "ResNet (" in succeed(tmp_path, programs / "kindling", "demo", *few)  # and its experiments

    succeed(tmp_path, programs / "kindling", "new", "galaxies")
    project = tmp_path / "galaxies"
    assert [path.name for path in (project / "wheels").glob("*.whl")] == [wheel.name]
    succeed(project, python, *QUIET_PIP, "install", "--no-deps", "--no-build-isolation", "-e", ".")
    where = "import kindling, galaxies; print(kindling.__file__, galaxies.__file__)"
    engine, own = succeed(project, python, "-c", where).split()
    assert str(tmp_path / "environment") in engine
    assert str(project / "src") in own
    tests = ["tests/galaxies/test_data.py", "tests/galaxies/test_configs.py::test_an_experiment_trains"]
    chosen = succeed(project, python, "-m", "pytest", "-vv", *tests, "-k", "Wine or digits_mlp")
    assert "test_an_experiment_trains[configs/digits_mlp.yaml] PASSED" in chosen
    succeed(project, programs / "ruff", "check")
    succeed(project, programs / "ruff", "format", "--check")
