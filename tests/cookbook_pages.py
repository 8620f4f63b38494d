"""The cookbook's pages, their code and their commands, for the tests that run them."""

import re
import shlex
from typing import Any

import torch
from conftest import ROOT

COOKBOOK = ROOT / "docs" / "cookbook"
PAGES = sorted(path.stem for path in COOKBOOK.glob("*.md") if path.stem != "README") if COOKBOOK.is_dir() else []


def text_of(page: str) -> str:
    return (COOKBOOK / f"{page}.md").read_text(encoding="utf-8")


def blocks_of(page: str, language: str = "python") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text_of(page), re.MULTILINE | re.DOTALL)


def code_of(page: str) -> str:
    return "\n".join(blocks_of(page))


def commands_of(page: str) -> list[list[str]]:
    """The arguments of each command that a page gives on an indented line, which a backslash carries on."""
    lines = text_of(page).replace("\\\n", "")
    return [shlex.split(line) for line in re.findall(r"^    kindling (.*)$", lines, re.MULTILINE)]


def run(page: str) -> dict[str, Any]:
    """What the code of a page leaves: its names. The same random numbers each time."""
    torch.manual_seed(0)
    names: dict[str, Any] = {"__name__": f"page_{page}"}
    exec(compile(code_of(page), f"{page}.md", "exec"), names)
    return names
