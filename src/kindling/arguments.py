"""Reads the command line: Kindling's own options, the config files, and the flags that win over them."""

import argparse
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from kindling.runs import UsageError, find_run
from kindling.sources import Source, flags_as_values

USAGE = "kindling %s [--config FILE …] [--KEY VALUE …]"
HELP = {
    "fit": "Train on the training split, keep the checkpoint that is best on the validation split, and test it. "
    "--config FILE names an experiment; more than one compose, the later ones win, and flags win over all. "
    "--resume RUN goes on with a run in its own folder. --name NAME files the run under lightning_logs/NAME.",
    "validate": "Measure a checkpoint on the validation split. --run RUN (a folder, or latest) takes the run's config "
    "and best checkpoint; --ckpt best|last|PATH chooses another. Flags win over the run's config.",
}
HELP["test"] = HELP["validate"].replace("validation split", "test split")


@dataclass
class Arguments:
    """A command line, taken apart. `parser_args` has the configs first, so that flags win wherever they stand."""

    command: str
    configs: list[Path]
    flags: list[str]
    run: Path | None = None
    resume: bool = False
    ckpt: str | None = None
    name: str | None = None

    @property
    def parser_args(self) -> list[str]:
        configs = [part for path in self.configs for part in ("--config", str(path))]
        return [self.command, *configs, *self.flags]

    @property
    def experiment(self) -> str:
        """The name that the run is filed under."""
        return self.name or (self.configs[0].stem if self.configs else "unnamed")

    def sources(self) -> list[Source]:
        """The values of each config file and of the flags, in rising priority."""
        files = [(str(path), read_yaml(path)) for path in self.configs]
        return [*files, ("command line", flags_as_values(self.flags))]


def read_arguments(argv: list[str]) -> Arguments:
    """Take the command line apart and see that its files exist.

    Raises:
        UsageError: if a run or a file is missing, is no YAML, or does not go with the command.
    """
    options = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for names in (["--config", "-c"], ["--run"], ["--resume"]):  # one list, since their order counts
        options.add_argument(*names, dest="sources", action="append", type=partial(_pair, names[0]))
    options.add_argument("--ckpt")
    options.add_argument("--name")
    command = argv[0]
    try:
        own, flags = options.parse_known_args(argv[1:])
    except argparse.ArgumentError as error:
        raise UsageError(f"{error.argument_name}: {error.message}") from error
    arguments = Arguments(command, [], flags, ckpt=own.ckpt, name=own.name)
    for option, path in own.sources or []:
        if option == "--config":
            arguments.configs.append(Path(path))
            continue
        if (option == "--resume") != (command == "fit"):
            raise UsageError(f"{command} has no {option}: fit takes --resume RUN, validate and test take --run RUN")
        arguments.run, arguments.resume = find_run(path), option == "--resume"
        arguments.configs.append(arguments.run / "config.yaml")
    if not {"-h", "--help", "--print_config"}.intersection(flags) and not any(".help" in flag for flag in flags):
        _check(arguments)
    return arguments


def _pair(option: str, path: str) -> tuple[str, str]:
    return option, path


def _check(arguments: Arguments) -> None:
    if arguments.flags and not arguments.flags[0].startswith("-"):
        raise UsageError(f"unexpected {arguments.flags[0]!r}: a config file is given with --config FILE")
    if arguments.name is not None and (not arguments.name.strip(". ") or set("/\\") & set(arguments.name)):
        raise UsageError(f"--name is {arguments.name!r}: expected the name of one folder, such as my_experiment")
    for path in arguments.configs:
        if not read_yaml(path):
            raise UsageError(f"{path} is empty: expected keys such as model:, data: and trainer:")
    if arguments.command == "fit" and arguments.ckpt:
        raise UsageError("fit has no --ckpt: --resume RUN goes on from a run's last checkpoint")
    if arguments.command != "fit" and not arguments.run and arguments.ckpt in (None, "best", "last"):
        raise UsageError(f"{arguments.command} needs --run RUN (a folder or latest), or --config FILE with --ckpt PATH")
    named = {flag.partition("=")[0] for flag in arguments.flags}
    if not arguments.configs and not {"--model", "--data"} <= named:
        known = ", ".join(sorted(str(path) for path in Path("configs").glob("*.yaml"))) or "one of your own"
        raise UsageError(f"nothing says what to train: give --config FILE ({known}) or --model and --data")


def read_yaml(path: Path) -> dict[str, Any]:
    """The values in a config file.

    Raises:
        UsageError: if the file is missing or is no YAML mapping; the message names the line.
    """
    try:
        values = yaml.safe_load(path.read_text())
    except OSError as error:
        near = ", ".join(sorted(str(found) for found in path.parent.glob("*.yaml"))) or f"no YAML in {path.parent}/"
        raise UsageError(f"can't read config {path} ({error.strerror}); there is: {near}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not a text file: expected YAML") from error
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UsageError(f"{path}{line}: not valid YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: not valid YAML: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UsageError(f"{path}: expected keys such as model:, data: and trainer:, got {str(values)[:40]!r}")
    return values
