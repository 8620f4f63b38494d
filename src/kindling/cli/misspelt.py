"""Tells what was meant by a command, a key or an option that is misspelt, without waiting for torch."""

import argparse
import re
from collections.abc import Collection
from difflib import get_close_matches

from kindling.core.errors import UsageError
from kindling.core.settings import COMMAND_LINE, Setting

# What settings begin with: the parser's groups.
KEYS = (
    "model", "data", "trainer", "seed_everything", "checkpoint", "early_stopping", "freezing", "gradient_norm",
    "non_finite", "tensorboard_extras", "weight_averaging", "figures",
)  # fmt: skip


def names_of(parser: argparse.ArgumentParser) -> list[str]:
    """The options of a parser, without their hyphens."""
    return [name for name in re.findall(r"--([\w-]+)", parser.format_usage()) if name != "help"]


def refuse_misspelt(settings: list[Setting], options: Collection[str]) -> None:
    """Refuse what is nearly a key or an option at once; all else that is unknown the parser finds, seconds later.

    Raises:
        UsageError: that says what was meant.
    """
    for source, key, _ in settings:
        word = str(key).partition(".")[0].rstrip("+")
        is_known = word in KEYS or (source == COMMAND_LINE and word in (*options, "help", "print_config"))
        if is_known:
            continue
        if meant := did_you_mean(word, KEYS):
            raise UsageError(f"{source}: unknown key {key}: {meant}")
        if source == COMMAND_LINE and (meant := did_you_mean(word, options, "--")):
            raise UsageError(f"unknown option --{key}: {meant}")


def did_you_mean(word: str, names: Collection[str], prefix: str = "", cutoff: float = 0.7) -> str:
    """A question for the name that is nearest to a word; empty if none is near."""
    near = get_close_matches(word, names, n=1, cutoff=cutoff)
    return f"did you mean {prefix}{near[0]}?" if near else ""
