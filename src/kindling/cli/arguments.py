"""Reads the command line: Kindling's own options, the config files, and the flags that win over them."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kindling.core.errors import UsageError
from kindling.core.settings import Setting, settings_in
from kindling.run.folder import find_run, requeued_run

USAGE = "kindling %s [--config FILE …] [--KEY VALUE …]"
HELP = {
    "fit": "Train on the training split, keep the checkpoint that is best on the validation split, and test it. "
    "--config FILE names an experiment; more than one compose, the later ones win, and flags win over all. "
    "--resume RUN goes on with a run in its own folder. --name NAME files the run under lightning_logs/NAME. "
    "--find lr or batch_size tries values and trains nothing.",
    "validate": "Measure a checkpoint on the validation split. --run RUN (a folder, or latest) takes the run's config "
    "and best checkpoint; --ckpt best|last|PATH chooses another. Flags win over the run's config.",
}
HELP["test"] = HELP["validate"].replace("validation split", "test split")
HELP["data"] = (
    "Look at the data before a training: sizes, classes and ranges, how fast it loads, and a picture of a batch as the "
    "model will see it. Takes what fit takes, of which --data or a config with data: is enough."
)
COMMANDS = (*HELP, "compare", "export", "folds", "predict")
# Settings that leave the split as it is, if the samples are the same, which its fingerprint tells.
SAME_SPLIT: tuple[str, ...] = ("data.batch_size", "data.workers", "data.augment", "data.normalize", "data.cache")
SAME_SPLIT += ("data.path", "data.root", "data.download")


@dataclass
class Arguments:
    """A command line, taken apart. `parser_args` has the configs first, so that flags win wherever they stand."""

    command: str
    parser_args: list[str]
    settings: list[Setting]  # of the configs and the flags, in rising priority
    run: Path | None
    ckpt: str | None
    name: str  # that the run is filed under
    find: str | None  # lr or batch_size: what to find instead of training

    @property
    def saved_split(self) -> Path | None:
        """The split that the run keeps, unless something besides the run's config says what the data is."""
        if not self.run or not (self.run / "splits.npz").is_file():
            return None
        others = (key for source, key, _ in self.settings if source != str(self.run / "config.yaml"))
        changed = any(key.startswith("data.") and not key.startswith(SAME_SPLIT) for key in others)
        named = (
            value.get("class_path") if isinstance(value, dict) else value
            for _, key, value in self.settings
            if key == "data"
        )
        kinds = {str(name).rpartition(".")[2] for name in named if name}
        return None if changed or len(kinds) > 1 else self.run / "splits.npz"


def read_arguments(argv: list[str]) -> Arguments:
    """Take the command line apart and see that its files exist.

    Raises:
        UsageError: if a run or a file is missing, is no YAML, or does not go with the command.
    """
    command = argv[0]
    if command not in COMMANDS:
        raise UsageError(f"unknown command {command!r}: expected {', '.join(COMMANDS)}")

    def config_of_run(name: str) -> Path:
        own.run = find_run(name)
        return own.run / "config.yaml"

    own = argparse.Namespace(run=None)
    options = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    options.add_argument("--config", "-c", dest="configs", action="append", default=[], type=Path)
    run = "--resume" if command == "fit" else "--run"
    options.add_argument(run, dest="configs", action="append", type=config_of_run)  # one list, since the order counts
    options.add_argument("--ckpt")
    options.add_argument("--name")
    options.add_argument("--find", choices=("lr", "batch_size"))
    try:
        _, flags = options.parse_known_args(argv[1:], own)
    except argparse.ArgumentError as error:
        raise UsageError(f"{error.argument_name}: {error.message}") from error
    name = own.name or (own.run.parent.name if own.run else next((path.stem for path in own.configs), "unnamed"))
    if command == "fit" and not own.run and (begun := requeued_run(name)):
        own.run, own.configs = begun, [begun / "config.yaml"]
    settings = [(str(path), key, value) for path in own.configs for key, value in settings_in(_read_yaml(path))]
    for flag, following in zip(flags, [*flags[1:], ""], strict=False):
        if flag.startswith("--"):
            key, equals, value = flag[2:].partition("=")
            settings.append(("command line", key, value if equals else following))
    if not any(flag in ("-h", "--help", "--print_config") or ".help" in flag for flag in flags):
        _check(command, own, flags)
    arguments = Arguments(command, flags, settings, own.run, own.ckpt, name, own.find)
    split = [f"--data.split_file={arguments.saved_split}"] if arguments.saved_split else []
    configs = [f"--config={path}" for path in own.configs]
    arguments.parser_args = ["fit" if command == "data" else command, *configs, *split, *flags]
    return arguments


def _check(command: str, own: argparse.Namespace, flags: list[str]) -> None:
    given = {flag.partition("=")[0] for flag in flags}
    if flags and not flags[0].startswith("-"):
        raise UsageError(f"unexpected {flags[0]!r}: a config file is given with --config FILE")
    for option in given & {"--run", "--resume"}:
        raise UsageError(f"{command} has no {option}: fit takes --resume RUN, validate and test take --run RUN")
    if own.find and (command != "fit" or own.run):
        raise UsageError("--find is for a new training: kindling fit --config FILE --find lr")
    if own.name is not None and (not own.name.strip(". ") or "/" in own.name or "\\" in own.name):
        raise UsageError(f"--name is {own.name!r}: expected the name of one folder, such as my_experiment")
    if command == "fit" and own.ckpt:
        raise UsageError("fit has no --ckpt: --resume RUN goes on from a run's last checkpoint")
    if command == "data" and own.ckpt:
        raise UsageError("data has no --ckpt: it looks at the data alone")
    if command in ("validate", "test") and not own.run and own.ckpt in (None, "best", "last"):
        raise UsageError(f"{command} needs --run RUN (a folder or latest), or --config FILE with --ckpt PATH")
    if not own.configs and not ({"--data"} if command == "data" else {"--model", "--data"}) <= given:
        known = ", ".join(sorted(str(path) for path in Path("configs").glob("*.yaml"))) or "one of your own"
        raise UsageError(f"nothing says what to train: give --config FILE ({known}) or --model and --data")


def _read_yaml(path: Path) -> dict[str, Any]:
    """The values in a config file; a UsageError names the line that is no YAML."""
    try:
        values = yaml.safe_load(path.read_text())
    except OSError as error:
        near = ", ".join(sorted(str(found) for found in path.parent.glob("*.yaml"))) or f"no YAML in {path.parent}/"
        raise UsageError(f"can't read config {path} ({error.strerror}); there is: {near}") from error
    except (ValueError, yaml.YAMLError) as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        raise UsageError(f"{path}{f', line {mark.line + 1}' if mark else ''}: not valid YAML: {problem}") from error
    if values in (None, {}):
        raise UsageError(f"{path} is empty: expected keys such as model:, data: and trainer:")
    if not isinstance(values, dict):
        raise UsageError(f"{path}: expected keys such as model:, data: and trainer:, got {str(values)[:40]!r}")
    return values


def run_options(parser: argparse.ArgumentParser, default_input: str) -> None:
    """Add what `predict` and `export` share: which model, which inputs, and where the output goes."""
    parser.add_argument("--run", help="a run's folder, or latest")
    parser.add_argument("--ckpt", help="the run's best (default) or last checkpoint, or a file, which needs no run")
    takes = "a folder of images, an image, a .csv, .parquet, .npz or .npy"
    parser.add_argument("--input", type=Path, metavar="PATH", help=f"{takes} ({default_input})")
    parser.add_argument("--output", type=Path, metavar="FILE", help="the file to write (in the run)")


def parse_options(parser: argparse.ArgumentParser, argv: list[str]) -> argparse.Namespace:
    """Parse the options of a command that has no configs; a UsageError names the one that is wrong."""
    parser.allow_abbrev, parser.exit_on_error = False, False
    try:
        options, unknown = parser.parse_known_intermixed_args(argv)
    except argparse.ArgumentError as error:
        raise UsageError(f"{error.argument_name}: {error.message}") from error
    if unknown:
        known = ", ".join(action.option_strings[-1] for action in parser._actions if action.option_strings)
        raise UsageError(f"unknown option {unknown[0]}: {parser.prog} takes {known}")
    return options
