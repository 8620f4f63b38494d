"""Reads the command line: Kindling's own options, the config files, and the flags that win over them."""

import argparse
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kindling.cli.help_texts import ABOUT
from kindling.cli.misspelt import did_you_mean, names_of, refuse_misspelt
from kindling.core import system
from kindling.core.config_files import read_yaml
from kindling.core.errors import UsageError
from kindling.core.files import is_file
from kindling.core.processes import Processes
from kindling.core.settings import COMMAND_LINE, Setting, misnamed_in, settings_in
from kindling.run.folder import begun_run, find_run, requeued_run

# Commands that read their options themselves.
PLAIN = ("board", "compare", "completion", "demo", "export", "folds", "new", "predict", "sweep")


@dataclass
class Arguments:
    """A command line, taken apart.

    Args:
        command: fit, validate, test or data.
        configs: the files to read, the later ones winning; that of a run among them.
        flags: all that is not Kindling's own, for the parser; they win over the files.
        settings: every setting of the files and the flags, in rising priority.
        run: the run to go on with, or to measure.
        ckpt: best, last, or a path; None for the command's default.
        name: that a new run is filed under.
        run_id: of the run: its folder's name; None for the next version_N.
        test: whether the test split is measured after a training.
        find: lr or batch_size: what to find instead of training.
        again: settings of the files of a command that is started anew: the user's, where the run's config has them.
        processes: this one, and those that do the same.
        of_launch: keys that what started the processes has set for this start alone, and what they would be without it;
            None for the default.
    """

    command: str
    configs: list[Path] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    settings: list[Setting] = field(default_factory=list)
    run: Path | None = None
    ckpt: str | None = None
    name: str = "unnamed"
    run_id: str | None = None
    test: bool = True
    find: str | None = None
    again: list[Setting] = field(default_factory=list)
    processes: Processes = field(default_factory=Processes)
    of_launch: dict[str, Any] = field(default_factory=dict)

    @property
    def asks_for_help(self) -> bool:
        return any(flag in ("-h", "--help", "--print_config") or ".help" in flag for flag in self.flags)

    @property
    def values(self) -> dict[str, Any]:
        """The value of each setting that is given."""
        return {key: value for _, key, value in self.settings}

    @property
    def changes(self) -> list[Setting]:
        """The settings that are not the run's own."""
        return [setting for setting in self.settings if not self.is_of_run(setting)]

    def is_of_run(self, setting: Setting) -> bool:
        return self.run is not None and setting[0] == str(self.run / "config.yaml")

    def sets(self, key: str) -> bool:
        return any(key == other for _, other, _ in self.settings)


def read_arguments(argv: list[str], processes: Processes | None = None) -> Arguments:
    """Take the command line apart and see that its files exist.

    Args:
        argv: the command and what follows it.
        processes: this one, and those that do the same: which run is meant, the first of them says.

    Raises:
        UsageError: if a run or a file is missing, is no YAML, or does not go with the command.
    """
    command, again = argv[0], list[Path]()
    if command not in ABOUT:
        commands = (*ABOUT, *PLAIN)
        meant = did_you_mean(command, commands, cutoff=0.6)
        raise UsageError(f"unknown command {command!r}: {meant or 'expected ' + ', '.join(commands)}")
    processes = processes or Processes()
    own, flags = _parse_own(command, argv[1:], processes)
    name = own.name or _name(own.run, own.configs)
    if command == "fit" and not own.run:
        begun = processes.decide("begun", lambda: _begun(name, own.run_id, processes))
        if begun:
            again, own.run, own.configs = own.configs, Path(begun), [Path(begun, "config.yaml")]
    arguments = Arguments(
        command,
        own.configs,
        flags,
        settings=[*_settings_of_files(own.configs), *settings_of_flags(flags)],
        run=own.run,
        ckpt=own.ckpt,
        name=name,
        run_id=own.run_id,
        test=own.test != "false",
        find=own.find,
        again=_settings_of_files(again),
        processes=processes,
    )
    _follow(processes, arguments)
    if arguments.asks_for_help:
        _refuse_help_without_a_name(command, flags)
    else:
        _check(arguments, own)
    return arguments


def _begun(name: str, run_id: str | None, processes: Processes) -> str | None:
    """The run that an earlier start of this command has begun."""
    restarted = processes.begun_run()
    if restarted and is_file(restarted / "config.yaml"):
        run: Path | None = restarted
    elif run_id is None:
        run = requeued_run(name)
    else:
        run = begun_run(name, run_id) if _is_folder_name(run_id) else None
    return str(run) if run else None


def _follow(processes: Processes, arguments: Arguments) -> None:
    """Take the devices of a node, and the nodes, from what has started the processes, unless the user sets them."""
    for key, value in processes.launch.settings.items():
        if not any(key == other and chosen not in (None, "null", "auto") for _, other, chosen in arguments.changes):
            without = [chosen for _, other, chosen in arguments.settings if key == other]
            arguments.of_launch[key] = without[-1] if without else None
            arguments.flags.append(f"--{key}={value}")
            arguments.settings.append((COMMAND_LINE, key, value))
    nodes = [str(value) for _, key, value in arguments.settings if key == "trainer.num_nodes"]
    if processes.number is None and nodes and nodes[-1].isdecimal():
        processes.number = int(nodes[-1])  # of which one process each is there until Lightning starts the others


def _is_folder_name(name: str) -> bool:
    if not name.strip(". ") or {"/", "\\"} & {*name}:
        return False
    return not system.WINDOWS or not _is_forbidden_on_windows(name)


def _is_forbidden_on_windows(name: str) -> bool:
    """Whether it has characters that no name may have there, ends as none may, or is that of a device, such as NUL."""
    device = re.fullmatch(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", name.lower())
    return bool(device or re.search(r'[<>:"|?*\x00-\x1f]|[. ]$', name))


def _parse_own(command: str, argv: list[str], processes: Processes) -> tuple[argparse.Namespace, list[str]]:
    """Kindling's own options, and what is left for the parser."""
    own = argparse.Namespace(run=None, resumes=False)

    def config_of_run(name: str) -> Path:
        own.run, own.resumes = Path(processes.decide("run", lambda: str(find_run(name)))), True
        return own.run / "config.yaml"

    try:
        return own_options(command, config_of_run).parse_known_args(argv, own)
    except argparse.ArgumentError as error:
        raise UsageError(f"{error.argument_name}: {error.message}") from error


def own_options(command: str, config_of_run: Callable[[str], Path] = Path) -> argparse.ArgumentParser:
    """The parser of Kindling's own options, for a command that passes all others on."""
    options = argparse.ArgumentParser(f"kindling {command}", add_help=False, allow_abbrev=False, exit_on_error=False)
    options.add_argument("--config", "-c", dest="configs", action="append", default=[], type=Path)
    # A run counts as a config, in one list with the others, since the order counts; it is noted on the way.
    run_flag = "--resume" if command == "fit" else "--run"
    options.add_argument(run_flag, dest="configs", action="append", type=config_of_run)
    options.add_argument("--ckpt")
    options.add_argument("--name")
    options.add_argument("--find", choices=("lr", "batch_size"))
    options.set_defaults(run_id=None, test="true")
    if command == "fit":
        options.add_argument("--run-id")
        options.add_argument("--test", choices=("true", "false"))
    return options


def _name(run: Path | None, configs: list[Path]) -> str:
    """What a run is filed under: the resumed run's name, or the first config's."""
    if run:
        return run.parent.name
    return configs[0].stem if configs else "unnamed"


def _settings_of_files(paths: Iterable[Path]) -> list[Setting]:
    settings: list[Setting] = []
    for path in paths:
        values = read_yaml(path)
        for key, value in values.items():
            if problem := misnamed_in(key, value):
                raise UsageError(f"{path}: {problem}")
            if value == {} and key in ("model", "data"):
                raise UsageError(f"{path}: {key} is empty: expected the name of a class")
        settings += [(str(path), key, value) for key, value in settings_in(values)]
    return settings


def settings_of_flags(flags: list[str]) -> list[Setting]:
    settings: list[Setting] = []
    for flag, following in zip(flags, [*flags[1:], ""], strict=False):
        if flag.startswith("--"):
            key, equals, value = flag[2:].partition("=")
            settings.append((COMMAND_LINE, key, value if equals else following))
    return settings


def _refuse_help_without_a_name(command: str, flags: list[str]) -> None:
    for _, key, value in settings_of_flags(flags):
        if key in ("model.help", "data.help") and (not value or value.startswith("-")):
            raise UsageError(f"--{key} needs a name: kindling {command} --help lists them")


def _check(arguments: Arguments, own: argparse.Namespace) -> None:
    command, flags, run = arguments.command, arguments.flags, arguments.run
    given = {flag.partition("=")[0] for flag in flags}
    if flags and not flags[0].startswith("-"):
        raise UsageError(f"unexpected {flags[0]!r}: a config file is given with --config FILE")
    for option in given & {"--run", "--resume"}:
        raise UsageError(f"{command} has no {option}: fit takes --resume RUN, validate and test take --run RUN")
    if arguments.find and (command != "fit" or run):
        raise UsageError("--find is for a new training: kindling fit --config FILE --find lr")
    if own.run_id and own.resumes:
        raise UsageError("--run-id and --resume both say which run: give one of them")
    for option, name in {"--name": own.name, "--run-id": own.run_id}.items():
        if name is not None and not _is_folder_name(name):
            raise UsageError(f"{option} is {name!r}: expected the name of one folder, such as my_experiment")
    if command == "fit" and arguments.ckpt:
        raise UsageError("fit has no --ckpt: --resume RUN goes on from a run's last checkpoint")
    if command == "data" and arguments.ckpt:
        raise UsageError("data has no --ckpt: it looks at the data alone")
    if command in ("validate", "test") and not run and arguments.ckpt in (None, "best", "last"):
        raise UsageError(f"{command} needs --run RUN (a folder or latest), or --config FILE with --ckpt PATH")
    refuse_misspelt(arguments.changes, names_of(own_options(command)))
    needed = "--data" if command == "data" else "--model"
    if not arguments.configs and needed not in given:
        configs = ", ".join(sorted(str(path) for path in Path("configs").glob("*.yaml"))) or "one of your own"
        both = "--data" if command == "data" else "--model and --data"
        raise UsageError(f"nothing says what to train: give --config FILE ({configs}) or {both}")


def run_options(parser: argparse.ArgumentParser, default_input: str) -> None:
    """Add what `predict` and `export` share: which model, which inputs, and where the output goes."""
    parser.add_argument("--run", help="a run's folder, or latest")
    parser.add_argument("--ckpt", help="the run's best (default) or last checkpoint, or a file, which needs no run")
    takes = "a folder of images, an image, a .csv, .parquet, .npz or .npy"
    parser.add_argument("--input", type=Path, metavar="PATH", help=f"{takes} ({default_input})")
    parser.add_argument("--output", type=Path, metavar="FILE", help="the file to write (in the run)")
    for part in ("model", "data"):
        parser.add_argument(f"--{part}", metavar="PATH", help=f"the run's {part} again, if it was given by import path")


def parse_options(parser: argparse.ArgumentParser, argv: list[str]) -> argparse.Namespace:
    """Parse the options of a command that has no configs; a UsageError names the one that is wrong."""
    parser.allow_abbrev, parser.exit_on_error = False, False
    try:
        options, unknown = parser.parse_known_intermixed_args(argv)
    except argparse.ArgumentError as error:
        raise UsageError(f"{error.argument_name}: {error.message}") from error
    if unknown:
        names = names_of(parser)
        meant = did_you_mean(unknown[0].lstrip("-"), names, "--")
        takes = ", ".join(f"--{name}" for name in ["help", *names])
        raise UsageError(f"unknown option {unknown[0]}: {f'{meant} ' if meant else ''}{parser.prog} takes {takes}")
    return options
