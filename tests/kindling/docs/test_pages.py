"""The README and the pages of docs/ run from top to bottom, each in an empty project; what does not run says why.

Of a page run its blocks of bash and Python and its commands in the text, in their order. Trainings are cut short. The
cookbook and docs/scaling.md have tests of their own.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from conftest import ROOT, Result
from stand_ins import use_stand_ins, write_samples

import my_project.data.vision  # noqa: F401 (before stand-ins take the place of what it imports)

DOCS = ROOT / "docs"
WITH_OWN_TESTS = ("cookbook", "scaling.md")
SHORT = "--trainer.accelerator cpu --trainer.limit_train_batches 2 --trainer.limit_val_batches 1"
SHORT += " --trainer.limit_test_batches 1"
PLACEHOLDERS = r"…|\b(RUN|FOLDER|FILE|PATH|NAME|DIR|N|ID)\b"
BLOCK = re.compile(
    r"(?:`(?P<file>[\w/.]+)`:\n\n)?"  # the path of a file whose content the block is
    r"(?:<!-- (?P<mark>not run|needs):? (?P<why>[^>]+) -->\n)?"
    r"^```(?P<language>\S*)\n(?P<code>.*?)^```"
    r"|(?<!`)`(?P<command>kindling \w+ --[^`]+)`",
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    """A block of code, or a command in the text."""

    language: str
    code: str
    file: str | None = None
    mark: str | None = None
    why: str = ""

    @property
    def commands(self) -> list[list[str]]:
        lines = [shlex.split(line, comments=True) for line in self.code.splitlines()]
        return [line for line in lines if line]


def pages() -> list[Path]:
    """The pages by their paths below docs/, and the README."""
    found = (path.relative_to(DOCS) for path in DOCS.rglob("*.md"))
    return [Path("../README.md"), *sorted(page for page in found if page.parts[0] not in WITH_OWN_TESTS)]


def blocks_of(page: Path) -> list[Block]:
    blocks = []
    for found in BLOCK.finditer((DOCS / page).read_text(encoding="utf-8")):
        command = found["command"]
        if command and not re.search(PLACEHOLDERS, command):
            blocks.append(Block("bash", " ".join(command.split())))
        elif found["code"] is not None:
            block = Block(found["language"], found["code"], found["file"], found["mark"], found["why"] or "")
            blocks.append(block)
    return blocks


PAGES = pages()
WITH_CODE = [page for page in PAGES if any(block.language in ("bash", "python") for block in blocks_of(page))]
GUIDE = [page for page in PAGES if page.parent.name == "guide"]


def test_what_does_not_run_is_little_and_says_why() -> None:
    skipped = [block for page in PAGES for block in blocks_of(page) if block.mark == "not run"]
    assert len(skipped) <= 11
    for block in skipped:
        assert len(block.why) > 20
        for test in re.findall(r"tests/[\w/]+\.py", block.why):
            assert (ROOT / test).is_file(), test


def test_each_block_is_of_a_kind_that_is_checked() -> None:
    kinds = {block.language for page in PAGES for block in blocks_of(page)}
    assert kinds <= {"bash", "python", "yaml", "text", "{toctree}", "{include}", "{eval-rst}"}


@pytest.mark.parametrize("page", GUIDE, ids=str)
def test_each_section_of_the_guide_has_its_file_and_a_command(page: Path) -> None:
    _, *sections = re.split(r"^## ", (DOCS / page).read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert len(sections) >= 1
    for section in sections:
        title = section.partition("\n")[0]
        paths = re.findall(r"`([a-z_/]+(?:\.py|/))`", section)
        homes = [ROOT / "src" / package for package in ("kindling", "my_project")]
        assert paths, title
        assert [path for path in paths if not any((home / path).exists() for home in homes)] == [], title
        assert "```bash\nkindling " in section, title
    assert re.search(r"!\[.+\]\(\.\./figures/\w+\.png\)", (DOCS / page).read_text(encoding="utf-8"))


def test_the_figures_are_small_and_drawn_by_the_script() -> None:
    figures = list((DOCS / "figures").iterdir())
    assert sum(path.stat().st_size for path in figures) < 1_000_000
    script = (ROOT / "scripts" / "kindling" / "docs_figures.py").read_text(encoding="utf-8")
    for path in figures:
        assert f"def {path.stem}() -> Figure:" in script
        assert any(f"figures/{path.name}" in (DOCS / page).read_text(encoding="utf-8") for page in GUIDE), path


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_CODE, ids=str)
def test_a_page_runs(
    page: Path, kindling: Callable[..., Result], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_stand_ins({"FashionMNIST"}, monkeypatch)
    names: dict[str, Any] = {"__name__": page.stem}
    for block in blocks_of(page):
        if block.mark == "not run" or (block.mark == "needs" and not all(map(find_spec, block.why.split(", ")))):
            continue
        if block.file:
            write(project / block.file, block.code)
        elif block.language == "python":
            exec(compile(block.code, str(page), "exec"), names)
        elif block.language == "yaml":
            assert yaml.safe_load(block.code)
        elif block.language == "bash":
            for command in block.commands:
                run(command, kindling, project)


def write(path: Path, code: str) -> None:
    """Write a file; one of the project's into a copy of it, where a command finds it."""
    source = Path.cwd() / "src"
    if source in path.parents and not source.exists():
        shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
    path.write_text(code, encoding="utf-8")


def run(command: list[str], kindling: Callable[..., Result], project: Path) -> None:
    """Run a command; a training is cut short."""
    program, *arguments = command
    if command == ["python", "scripts/sample_data.py"]:
        return write_samples(Path("data/samples"), 150)
    assert program == "kindling", command
    if any(argument.endswith(".help") for argument in arguments):
        with pytest.raises(SystemExit) as ended:
            kindling(*arguments)
        assert ended.value.code == 0
        return None
    if arguments[0] == "fit" and "--find" not in arguments:
        arguments += [*SHORT.split(), "--trainer.max_epochs", "2" if "--resume" in arguments else "1"]
    if (project / "src").exists():
        environment = {**os.environ, "PYTHONPATH": str(project / "src")}
        child = [sys.executable, "-m", "kindling", *arguments]
        finished = subprocess.run(child, cwd=project, env=environment, capture_output=True, text=True, timeout=600)
        assert finished.returncode == 0, finished.stderr
        return None
    result = kindling(*arguments)
    assert result.code == 0, (command, result.err)
    return None
