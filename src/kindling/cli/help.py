"""`--help` of fit, validate, test and data: what one needs on the first day, without waiting for torch."""

import shutil
import textwrap
from itertools import pairwise

from kindling.cli.help_texts import ABOUT, ENGINE_DATA, FURTHER, GROUPS, Option
from kindling.core.source_names import names_in_projects

USAGE = "usage: kindling %s [--config FILE …] [--KEY VALUE …]"


def without_all(argv: list[str]) -> list[str] | None:
    """The arguments with `--help` in the place of `--help all`, for the parser to go on; None if all is not asked."""
    for place, (flag, value) in enumerate(pairwise(argv)):
        if flag in ("-h", "--help") and value == "all":
            return [*argv[:place], "--help", *argv[place + 2 :]]
    return None


def first_screen(command: str) -> str:
    """What one needs on the first day, in lines as wide as the terminal."""
    models = names_in_projects(("Model", "LightningModule"))
    data = names_in_projects(("Data", "LightningDataModule", *ENGINE_DATA))
    names = {"models": ", ".join(models or ["any LightningModule"]), "data": ", ".join([*data, *ENGINE_DATA])}
    examples = {"model": next(iter(models), "NAME"), "dataset": ENGINE_DATA[-2]}
    lines = [USAGE % command, "", ABOUT[command], ""]
    for title, options in GROUPS[command].items():
        lines += [title, *_table({option.flag: described(option).format(**names) for option in options})]
    lines += ["More", *_table({flag.format(**examples): meaning for flag, meaning in FURTHER.items()})]
    return "\n".join(lines) + "\n"


def terminal_width() -> int:
    """Columns to write in: those of the terminal, or of COLUMNS, where they are neither too few nor too many."""
    return max(60, min(120, shutil.get_terminal_size((100, 24)).columns))


def described(option: Option) -> str:
    default = f" ({option.default})" if option.default else ""
    return f"{option.takes}{default}: {option.meaning}"


def _table(rows: dict[str, str]) -> list[str]:
    """A line for each row, or more where the terminal is narrow: what is broken goes on in the second column."""
    indent = 30
    width = terminal_width() - indent
    lines = []
    for first, second in rows.items():
        wrapped = textwrap.wrap(second, width, break_on_hyphens=False)
        lines += [f"  {first:<{indent - 2}}{wrapped[0]}", *(" " * indent + line for line in wrapped[1:])]
    return lines
