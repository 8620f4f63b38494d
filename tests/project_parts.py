"""The project that is tested, and the parts that are in it."""

from importlib import import_module

from conftest import ROOT

PROJECT = "my_project"
SOURCE = ROOT / "src"

for file in sorted((SOURCE / PROJECT).rglob("*.py")):
    import_module(".".join(file.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"))


def parts_below(base: type) -> dict[str, type]:
    """The project's classes of a base (`Model`) by their names; those that begin with _ are bases themselves."""
    parts = {}
    for cls in base.__subclasses__():
        if cls.__module__.partition(".")[0] == PROJECT and not cls.__name__.startswith("_"):
            parts[cls.__name__] = cls
        parts |= parts_below(cls)
    return dict(sorted(parts.items()))
