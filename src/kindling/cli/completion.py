"""`kindling completion bash`: print a script by which Tab completes commands, flags, names, configs and runs.

The script is text and starts no Python. It has the models and data of today: make it anew when there are others.
Install it so, and open a new shell:

  bash  kindling completion bash > ~/.kindling.bash && echo 'source ~/.kindling.bash' >> ~/.bashrc
  zsh   kindling completion zsh > ~/.kindling.zsh && echo 'eval "$(<~/.kindling.zsh)"' >> ~/.zshrc   (after compinit)
  fish  kindling completion fish > ~/.config/fish/completions/kindling.fish
"""

import argparse
import re
from importlib import import_module
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from kindling.cli.arguments import own_options, parse_options
from kindling.cli.help_texts import ABOUT, COMMANDS
from kindling.core.errors import UsageError

UNIONS = (Union, UnionType)
SHELLS = ("bash", "zsh", "fish")
PASS_ON = {"demo": "fit", "folds": "fit", "sweep": "fit"}  # commands that take what another takes
# Runs with plain names alone: bash would run what stands in $(…) in the name of a folder.
LIST_RUNS = (
    "sh -c 'echo latest; ls -d lightning_logs/*/*/config.yaml 2>/dev/null | sed s,/config.yaml,, "
    '| grep -x "[A-Za-z0-9_./-]*"\''
)
RUNS_BY_SHELL = {  # as shtab takes it: what completes, and where that is defined
    "bash": "__kindling_runs",
    "zsh": "__kindling_runs",
    "fish": "(__kindling_runs)",
    "preamble": {
        "bash": f'__kindling_runs() {{ compgen -W "$({LIST_RUNS})" -- "$1"; }}',
        "zsh": f"__kindling_runs() {{ compadd -- $({LIST_RUNS}) }}",
        "fish": f"function __kindling_runs; {LIST_RUNS}; end",
    },
}
FILES = ("ckpt", "input", "output", "csv", "data.path", "data.split_file")
FOLDERS = ("study", "trainer.default_root_dir")
RUNS = ("run", "resume")
CONFIGS = ("config", "space")
BASES = ("Model", "Data", "Loadable", "LightningModule", "LightningDataModule")  # which no one trains as they are


def option_parser() -> argparse.ArgumentParser:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("kindling completion", description=__doc__, formatter_class=formatter)
    parser.add_argument("shell", nargs="?", choices=SHELLS, help="the shell that is to complete")
    return parser


def main(argv: list[str]) -> None:
    options = parse_options(option_parser(), argv)
    if options.shell is None:
        raise UsageError(f"nothing says for which shell: kindling completion {' or '.join(SHELLS)}")
    try:
        import shtab
    except ImportError as error:
        raise UsageError("kindling completion needs the library shtab: pip install shtab") from error
    print(shtab.complete(all_commands(keys_of_configs()), options.shell))


def all_commands(keys: dict[str, list[str]]) -> argparse.ArgumentParser:
    """A parser of every command, with what completes the values of its flags.

    Args:
        keys: of configs, with the values that each can have; none if they are not few.
    """
    parser = argparse.ArgumentParser("kindling")
    parser.add_argument("--version", action="store_true")
    subparsers = parser.add_subparsers()
    for command, what in re.findall(r"^  ([a-z]+)  +(.+)$", COMMANDS, re.MULTILINE):
        of_command = subparsers.add_parser(command, help=what)
        for name, values in _flags_of_command(command, keys).items():
            _add_flag(of_command, name, values)
        if command == "compare":
            _complete_by(of_command.add_argument("folders", nargs="*"), "run")
        elif command == "completion":
            of_command.add_argument("shell", choices=SHELLS)
    return parser


def _flags_of_command(command: str, keys: dict[str, list[str]]) -> dict[str, list[str] | None]:
    flags: dict[str, list[str] | None] = {}
    if command in (*ABOUT, *PASS_ON):
        flags = {**flags_of(own_options(PASS_ON.get(command, command))), **keys, "print_config": None}
    module = None if command in ABOUT else import_module(f"kindling.cli.{command}")
    own_parser = getattr(module, "option_parser", None)
    return flags | flags_of(own_parser()) if own_parser else flags


def flags_of(parser: argparse.ArgumentParser) -> dict[str, list[str] | None]:
    """The flags of a parser with the values that each can have, none if they are not few; None if it takes no value."""
    usage = " ".join(parser.format_usage().split())
    flags: dict[str, list[str] | None] = {}
    for name, value in re.findall(r"--([\w-]+)(?: ([^\s\]|]+))?", usage):
        choices = value.strip("{}").split(",") if value.startswith("{") else []
        flags[name] = choices if value else None
    return flags


def _add_flag(parser: argparse.ArgumentParser, name: str, values: list[str] | None) -> None:
    if values is None:
        parser.add_argument(f"--{name}", action="store_true")
    elif name in CONFIGS:  # of which there can be several
        _complete_by(parser.add_argument(f"--{name}", action="append"), name)
    else:
        _complete_by(parser.add_argument(f"--{name}", choices=values or None), name)


def _complete_by(action: argparse.Action, name: str) -> None:
    """Say what completes the value of a flag: shtab looks for an attribute `complete`."""
    import shtab

    if name in CONFIGS:
        action.complete = shtab.glob("*.yaml", "*.yml")  # type: ignore[attr-defined]
    elif name in FILES:
        action.complete = shtab.FILE  # type: ignore[attr-defined]
    elif name in FOLDERS:
        action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
    elif name in RUNS:
        action.complete = RUNS_BY_SHELL  # type: ignore[attr-defined]


def keys_of_configs() -> dict[str, list[str]]:
    """The keys of configs, also of every model and data set, with the values that each can have, if they are few."""
    from lightning.pytorch.cli import LightningArgumentParser

    from kindling.cli.build import add_keys
    from kindling.core import short_names
    from kindling.core.config_problems import Options
    from kindling.core.parts import choices_of, load_projects

    load_projects()
    short_names.install()
    parser = LightningArgumentParser()
    add_keys(parser, "fit")
    options = Options(parser)
    types = {"seed_everything": int} | options.types
    for key in ("model", "data"):
        for path in choices_of(options.types[key]):
            options.problem(key, path)
            types |= options.types
    types |= {f"{key}.help": types[key] for key in ("model", "data")}
    return {key: values_of(type_) for key, type_ in sorted(types.items()) if type_ is not None}


def values_of(type_: Any) -> list[str]:
    """The values that a type has, where they are few: those of a choice, true and false, or the names of classes."""
    from kindling.core.parts import bases_of, choices_of, short_name

    if type_ is bool:
        return ["true", "false"]
    if get_origin(type_) is Literal:
        return list(dict.fromkeys(str(value) for value in get_args(type_)))  # 16 and "16" are alike
    if bases_of(type_):
        return sorted({short_name(path) for path in choices_of(type_)} - {*BASES})
    if get_origin(type_) not in UNIONS:
        return []
    parts = [["null"] if part is NoneType else values_of(part) for part in get_args(type_)]
    return list(dict.fromkeys(value for values in parts for value in values)) if all(parts) else []
