"""The names of the models and data of the installed projects, read from their sources: nothing of them is imported."""

import ast
import warnings
from collections.abc import Collection, Iterator
from contextlib import suppress
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from kindling.core.parts import GROUP


def names_in_projects(bases: Collection[str]) -> list[str]:
    """The names of the classes that derive from classes of these names, also through one another.

    Left out are those that can't be built: names with an underscore, and classes with an abstract method. A file that
    is no Python has none.
    """
    classes = [each for file in _files_of_projects() for each in _classes_in(file)]
    found = set(bases)
    while further := {each.name for each in classes if found & _parents_of(each)} - found:
        found |= further
    can_be_built = {each.name for each in classes if not each.name.startswith("_") and not _is_abstract(each)}
    return sorted(found & can_be_built, key=str.lower)


def _files_of_projects() -> Iterator[Path]:
    for name in sorted({point.value for point in entry_points(group=GROUP)}):
        with suppress(Exception):  # of a package that is gone, or one whose parent can't be imported
            spec = find_spec(name)
            folders = (spec.submodule_search_locations or []) if spec else []
            yield from (file for folder in folders for file in sorted(Path(folder).rglob("*.py")))
            if spec and spec.origin and not folders:  # a project that is a single file
                yield Path(spec.origin)


def _classes_in(file: Path) -> list[ast.ClassDef]:
    # The last two errors are those of deep nesting; a warning, such as of "\\d", is for whoever imports the file.
    with warnings.catch_warnings(), suppress(OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        warnings.simplefilter("ignore")
        return [node for node in ast.parse(file.read_bytes()).body if isinstance(node, ast.ClassDef)]
    return []


def _parents_of(cls: ast.ClassDef) -> set[str]:
    """The last words of what a class derives from: `L.LightningModule` is LightningModule."""
    bases = [base.value if isinstance(base, ast.Subscript) else base for base in cls.bases]
    return {ast.unparse(base).rpartition(".")[2] for base in bases}


def _is_abstract(cls: ast.ClassDef) -> bool:
    functions = [node for node in cls.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return any("abstractmethod" in ast.unparse(each) for function in functions for each in function.decorator_list)
