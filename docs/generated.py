"""What pages of the site are generated from the code: every command, every setting, the API, the cookbook's menu.

A page holds a comment such as `<!-- generated: commands -->`, in whose place the text is put while Sphinx reads it.
"""

import os
import pkgutil
import re
import warnings
from argparse import Action
from collections import abc
from collections.abc import Iterable, Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from functools import cache
from importlib import import_module
from inspect import getmembers, isclass
from io import StringIO
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import lightning as L
from jsonargparse import ArgumentParser, Namespace

import kindling.data
import kindling.tasks
import my_project.data
import my_project.losses
import my_project.models
from kindling import Augmentation, Data, Model, Task, main
from kindling.cli.arguments import Arguments
from kindling.cli.build import Parts, default_callbacks

LONGEST = 80  # lines of help that a page shows in full
SHARED = {"model": Model, "data": Data}  # whose arguments all of a kind take


def connect(app: Any) -> None:
    """Have Sphinx fill the pages in."""
    app.connect("source-read", fill)
    app.connect("autodoc-process-docstring", plain_stars, priority=100)


def fill(app: Any, page: str, source: list[str]) -> None:
    """Put what a page names into it."""
    for comment, name in re.findall(r"(<!-- generated: (\w+) -->)", source[0]):
        source[0] = source[0].replace(comment, texts()[name])
    if page == "cookbook/README":
        source[0] += menu(source[0])


@cache
def texts() -> dict[str, str]:
    """All that is generated, at once: autodoc changes the signatures of what it has documented."""
    return {each.__name__: each() for each in (commands, settings, parts)}


def plain_stars(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """A star in a docstring is a star, as in `(B, *input_shape)`, and no emphasis."""
    lines[:] = [re.sub(r"(?<![`*])\*(?=\w)", r"\\*", line) for line in lines]


def menu(text: str) -> str:
    """The cookbook's pages for the site's menu, under the headings of its list."""
    parts = re.split(r"^\*\*(.+)\*\*$", text, flags=re.MULTILINE)[1:]
    trees = []
    for heading, pages in zip(parts[::2], parts[1::2], strict=True):
        names = "\n".join(re.findall(r"\((\w+)\.md\)", pages))
        trees.append(f"```{{toctree}}\n:hidden:\n:caption: {heading}\n\n{names}\n```\n")
    return "\n" + "\n".join(trees)


def commands() -> str:
    """Each command with what `--help` prints."""
    overview = printed("--help")
    sections = [f"```text\n{overview}```\n"]
    for name in re.findall(r"^  ([a-z]+)  +\S", overview, re.MULTILINE):
        text = printed(name, "--help")
        if len(text.splitlines()) > LONGEST:
            text = (
                text.partition("\n\noptions:")[0].strip() + "\n\nIt takes every setting: see the page of that name.\n"
            )
        sections.append(f"## kindling {name}\n\n```text\n{text}```\n")
    return "\n".join(sections)


def printed(*argv: str) -> str:
    """What a command prints."""
    out = StringIO()
    with redirect_stdout(out), redirect_stderr(out), suppress(SystemExit), warnings.catch_warnings():
        os.environ["COLUMNS"] = "84"  # the width that argparse breaks lines at
        main([*argv])
    return out.getvalue()


def settings() -> str:
    """Every key of a config: the trainer's, the callbacks', those of all models and data, and of each."""
    parser = AllSettings(Arguments("fit", flags=["--help"])).parser
    of_parser = list(rows(parser))
    sections = ["## The run\n\n" + table(row for row in of_parser if "." not in row[0])]
    for name in ("trainer", *default_callbacks()):
        sections.append(f"## {name}\n\n" + table(row for row in of_parser if row[0].startswith(f"{name}.")))
    for kind, base in SHARED.items():
        sections.append(f"## {kind}\n\nWhat every {base.__name__} takes.\n\n{table(rows_of(base, kind))}")
    shared = {kind: {key for key, *_ in rows_of(base, kind)} for kind, base in SHARED.items()}
    for heading, key, base, packages in (
        ("Models", "model", Model, [my_project.models]),
        ("Data", "data", Data, [kindling.data, my_project.data]),
        ("Tasks", "model.task", Task, [kindling.tasks]),
        ("Losses", "model.task.loss", object, [my_project.losses]),
        ("Augmentation", "data.augment", Augmentation, [kindling.data]),
    ):
        sections.append(f"## {heading}\n\nWhat each takes besides.\n")
        for cls in classes_in(base, packages):
            own = [row for row in rows_of(cls, key) if row[0] not in shared.get(key, ())]
            sections.append(f"### {cls.__name__}\n\n" + (table(own) if own else "Nothing.\n"))
    return "\n".join(sections)


class AllSettings(Parts):
    """The parser of `fit` and nothing else: nothing is parsed and nothing is built."""

    def parse_arguments(self, parser: Any, args: Any) -> None:
        self.config = Namespace(seed_everything=False)

    def instantiate_classes(self) -> None:
        pass


Row = tuple[str, str, str, str]  # key, type, default, what it is for


def rows_of(cls: type, key: str) -> list[Row]:
    """The settings that a class takes."""
    parser = ArgumentParser()
    parser.add_class_arguments(cls, key, fail_untyped=False, skip={*getattr(cls, "from_data", ())})
    return list(rows(parser))


def rows(parser: Any) -> Iterator[Row]:
    for action in parser._actions:  # argparse has no public list of them
        hint = getattr(action, "_typehint", None) or action.type
        if hint is None or action.dest.endswith(".help"):
            continue
        yield action.dest, type_in_words(hint), default_of(action), " ".join((action.help or "").split())


def type_in_words(hint: Any) -> str:
    """A type as a reader names it: `int | None` is int or null."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return " or ".join(dict.fromkeys(each if isinstance(each, str) else as_text(each) for each in arguments))
    words = ["…" if each is ... else type_in_words(each) for each in arguments if not isinstance(each, list)]
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(words))
    if origin is abc.Callable:  # what makes an optimiser is given as one
        return words[-1]
    if hint is type(None):
        return "null"
    return f"{origin.__name__}[{', '.join(words)}]" if origin and words else getattr(hint, "__name__", str(hint))


def default_of(action: Action) -> str:
    default = action.default
    return "" if default == "==SUPPRESS==" or callable(default) else as_text(default)


def as_text(value: Any) -> str:
    """A value as YAML has it; an object by its class and arguments."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Namespace):
        value = value.as_dict()
    if isinstance(value, dict) and "class_path" in value:
        arguments = ", ".join(f"{key}={as_text(each)}" for key, each in value.get("init_args", {}).items())
        name = value["class_path"].rpartition(".")[2]
        return f"{name}({arguments})"
    return str(value)


def table(found: Iterable[Row]) -> str:
    lines = ["| key | type = default | |", "|---|---|---|"]
    for row in found:
        key, kind, default, what = (cell.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*") for cell in row)
        what = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", what)  # a reference in Lightning's docstrings
        lines.append(f"| `{key}` | {kind}{f' = `{default}`' if default else ''} | {what} |")
    return "\n".join(lines) + "\n"


def classes_in(base: type, packages: list[Any]) -> list[type]:
    """The public classes of a kind that the packages' modules define, in the order of their names."""
    found = {
        cls.__name__: cls
        for package in packages
        for module in modules_of(package)
        for _, cls in getmembers(module, isclass)
        if cls.__module__ == module.__name__ and issubclass(cls, base) and cls is not base
        if not cls.__name__.startswith("_") and is_part(cls)
    }
    return [found[name] for name in sorted(found)]


def is_part(cls: type) -> bool:
    """Whether a config may name it: what is abstract, or a layer inside of a model, is none."""
    return not getattr(cls, "__abstractmethods__", None) and cls.__name__ not in ("StoredImages", "DefaultTask")


def modules_of(package: Any) -> list[Any]:
    return [import_module(f"{package.__name__}.{each.name}") for each in pkgutil.iter_modules(package.__path__)]


def parts() -> str:
    """The API of the engine's data and tasks, and of the project's examples."""
    sections = []
    for heading, base, packages in (
        ("Models", L.LightningModule, [my_project.models]),
        ("Data", Data, [kindling.data, my_project.data]),
        ("Tasks", Task, [kindling.tasks]),
        ("Losses", object, [my_project.losses]),
        ("Augmentation", Augmentation, [kindling.data]),
    ):
        classes = "\n".join(f".. autoclass:: {cls.__module__}.{cls.__name__}" for cls in classes_in(base, packages))
        sections.append(f"## {heading}\n\n```{{eval-rst}}\n{classes}\n```\n")
    return "\n".join(sections)
