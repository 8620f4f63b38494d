"""The Dockerfile and the devcontainer name files, stages and arguments that there are: no daemon is needed to see that."""

import json
import re
import subprocess
import sys

from conftest import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:  # pytest brings it
    import tomli as tomllib

LINES = [
    line for line in (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")
]
STEPS = [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in LINES]


def of(instruction: str) -> list[str]:
    return [rest for name, rest in STEPS if name == instruction]


def test_every_line_is_an_instruction() -> None:
    known = {"ARG", "FROM", "ENV", "RUN", "USER", "WORKDIR", "COPY", "ENTRYPOINT", "CMD"}
    assert {name for name, _ in STEPS} == known
    assert [name for name, _ in STEPS][:2] == ["ARG", "FROM"]
    for form in (*of("ENTRYPOINT"), *of("CMD")):
        assert isinstance(json.loads(form), list)


def test_every_shell_command_can_be_parsed() -> None:
    for command in of("RUN"):
        subprocess.run(["sh", "-n", "-c", command], check=True)


def test_what_is_copied_is_there_and_what_is_built_here_stays_outside() -> None:
    sources = [word for rest in of("COPY") for word in rest.split()[:-1] if not word.startswith("--")]
    assert sources == ["pyproject.toml", "wheels*", "."]
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert {".git", ".venv", "data", "lightning_logs"} <= set(ignored)
    assert not {"src", "configs", "pyproject.toml", "README.md", "wheels"} & set(ignored)  # README: pip reads it


def test_the_requirements_are_those_of_the_project() -> None:
    (command,) = re.findall(r'^python -c "(.*)" > requirements\.txt$', "\n".join(of("RUN")), re.MULTILINE)
    if sys.version_info >= (3, 11):
        printed = subprocess.run([sys.executable, "-c", command], cwd=ROOT, check=True, capture_output=True, text=True)
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        assert printed.stdout.splitlines() == project["dependencies"]


def test_it_runs_as_a_user_without_rights() -> None:
    assert of("USER")[-1] == "user"
    assert any(command.startswith("useradd ") and command.endswith(" user") for command in of("RUN"))


def test_the_devcontainer_is_the_stage_that_has_what_the_project_needs() -> None:
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    build = container["build"]
    assert (ROOT / ".devcontainer" / build["dockerfile"]).resolve() == ROOT / "Dockerfile"
    assert (ROOT / ".devcontainer" / build["context"]).resolve() == ROOT
    assert f" AS {build['target']}" in " ".join(of("FROM"))
    defaults = dict(argument.split("=", 1) for argument in of("ARG"))
    assert build["args"].items() <= defaults.items()
    assert container["remoteUser"] in of("USER")
