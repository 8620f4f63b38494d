"""Projects are found by their entry points, and of two parts with one name the nearer one wins."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Result, child

from kindling import __version__
from kindling.core import parts
from kindling.core.errors import UsageError

find_projects = parts.load_projects.__wrapped__  # what is cached after the first call
Install = Callable[..., Path]
MODEL = '''\
from torch import Tensor, nn

from kindling import Model


class Twin(Model):
    """A linear layer."""

    def __init__(self, **model) -> None:
        super().__init__(**model)
        self.head = nn.Linear(self.input_shape[0], self.num_outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(inputs)
'''


def write(folder: Path, name: str, files: dict[str, str]) -> Path:
    """What pip leaves of a distribution that has a project of the same name."""
    information = folder / f"{name}-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-distribution\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(f"[kindling.projects]\n{name} = {name}\n")
    for path, source in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(source)
    return folder


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Installs a project for this test."""

    def installed(name: str, files: dict[str, str]) -> Path:
        folder = write(tmp_path / "installed", name, files)
        monkeypatch.syspath_prepend(folder)
        return folder

    before = set(sys.modules)
    yield installed
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("stars", "planets"):
            del sys.modules[name]


def test_every_file_of_a_project_is_imported(install: Install) -> None:
    install("stars", {"stars/__init__.py": "", "stars/models/bright.py": "", "stars/__main__.py": "1 / 0"})
    assert "stars" in find_projects()
    assert "stars.models.bright" in sys.modules  # though its folder has no __init__.py


def test_a_project_can_be_one_file(install: Install) -> None:
    install("stars", {"stars.py": "BRIGHT = 1"})
    assert "stars" in find_projects()


def test_a_project_whose_package_is_gone_is_skipped_with_a_sentence(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install("stars", {})
    assert "stars" not in find_projects()
    assert capsys.readouterr().err == (
        "warning: the project stars is installed, but its package is gone: pip install --no-deps -e . in the project's "
        "folder installs it again, and pip uninstall stars-distribution removes it\n"
    )


@pytest.mark.parametrize("library", ["no_such_library", "star"])  # one has a name that the project's begins with
def test_a_project_that_needs_what_is_not_installed_is_not_skipped(install: Install, library: str) -> None:
    install("stars", {"stars/__init__.py": f"import {library}"})
    with pytest.raises(ModuleNotFoundError, match=f"No module named '{library}'"):
        find_projects()


def test_the_project_of_the_working_folder_comes_first(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = install("stars", {"stars/__init__.py": ""})
    monkeypatch.chdir(folder)
    assert find_projects()[0] == "stars"
    assert parts.in_this_folder("stars")
    monkeypatch.chdir("/")
    monkeypatch.chdir(folder / "stars")
    assert not parts.in_this_folder("stars")


class Part:
    """A base of parts that no other test knows."""


def owned_by(owner: str, name: str) -> type:
    return type(name, (Part,), {"__module__": f"{owner}.models"})


@pytest.fixture
def owners(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "load_projects", lambda: ("mine", "lab", "team"))
    monkeypatch.setattr(parts, "in_this_folder", lambda project: project == "mine")


@pytest.mark.usefixtures("owners")
@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["mine.a.Net", "lab.b.Net", "kindling.c.Net", "torch.d.Net"], ["mine.a.Net"]),
        (["lab.b.Net", "kindling.c.Net", "torch.d.Net"], ["lab.b.Net"]),
        (["kindling.c.Net", "torch.d.Net"], ["kindling.c.Net"]),
        (["torch.d.Net"], ["torch.d.Net"]),
        (["team.b.Net", "lab.b.Net", "torch.d.Net"], ["lab.b.Net", "team.b.Net"]),
        (["torch.d.Net", "lab.b.Other"], ["lab.b.Other", "torch.d.Net"]),
    ],
)
def test_the_nearer_owner_wins(paths: list[str], expected: list[str]) -> None:
    assert parts.preferred(paths) == expected


@pytest.mark.usefixtures("owners")
def test_a_name_that_two_projects_have_is_refused_with_both_paths() -> None:
    own, other = owned_by("lab", "Twin"), owned_by("team", "Twin")
    with pytest.raises(UsageError, match=r"Twin is the name of several classes: .* lab\.models\.Twin or team\.models"):
        parts.find_class(Part, "Twin")
    assert parts.find_class(Part, "team.models.Twin") is other
    nearest = owned_by("mine", "Twin")
    assert parts.find_class(Part, "Twin") is nearest
    assert own is not nearest


@pytest.mark.usefixtures("owners")
def test_a_path_that_is_gone_is_taken_by_its_last_word() -> None:
    kept = owned_by("mine", "Moved")
    assert parts.find_class(Part, "kindling.models.old.Moved") is kept
    assert parts.find_class(Part, "kindling.models.old.Gone") is None


def with_stranger(folder: Path) -> Path:
    """A working folder with modules and an installed project in it that are none of Kindling's business."""
    write(folder, "stranger", {"yaml.py": "1 / 0", "torch.py": "1 / 0"})
    (folder / "stranger.egg-info").mkdir()
    (folder / "stranger.egg-info" / "entry_points.txt").write_text("[kindling.projects]\nodd = odd\n")
    return folder


def test_the_working_folder_is_no_place_for_modules(tmp_path: Path) -> None:
    finished = child("--version", cwd=with_stranger(tmp_path))
    assert finished == Result(0, f"kindling {__version__}\n", "")


@pytest.mark.slow
def test_nor_for_projects(tmp_path: Path) -> None:
    few = ["--trainer.fast_dev_run", "1", "--trainer.accelerator", "cpu"]
    finished = child("fit", "--model", "MLP", "--data", "Wine", *few, cwd=with_stranger(tmp_path))
    assert (finished.code, finished.err) == (0, "")


@pytest.mark.slow
def test_two_installed_projects_share_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = tmp_path / "installed"
    for name in ("stars", "planets"):
        write(installed, name, {f"{name}/__init__.py": "", f"{name}/twin.py": MODEL})
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(installed), *filter(None, [os.environ.get("PYTHONPATH")])]))
    few = ["--data", "Wine", "--trainer.fast_dev_run", "1", "--trainer.accelerator", "cpu"]
    refused = child("fit", "--model", "Twin", *few, cwd=tmp_path)
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "stars.twin.Twin" in refused.err
    assert "planets.twin.Twin" in refused.err
    assert child("fit", "--model", "planets.twin.Twin", *few, cwd=tmp_path).code == 0
    assert child("fit", "--model", "Twin", *few, cwd=installed).code == 2  # both of them are of this folder


def test_a_path_under_which_a_package_offers_a_class_again_means_that_class() -> None:
    from torch import nn

    twin = type("Linear", (nn.Module,), {})  # of the same short name
    assert parts.find_class(nn.Module, "torch.nn.Linear") is nn.Linear
    assert parts.paths_meant("torch.nn.Linear", parts.classes_of(nn.Module)) == ["torch.nn.modules.linear.Linear"]
    assert twin is not nn.Linear
