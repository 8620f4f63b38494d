"""`kindling sweep`: search for better settings. Each trial is a run of its own, and none looks at the test split.

  kindling sweep --config configs/digits_mlp.yaml --space configs/spaces/mlp.yaml --trials 40
  kindling sweep --study lightning_logs/digits_mlp_study             show how it stands
  kindling sweep --study lightning_logs/digits_mlp_study --finish    train the best settings, and test them

The same command in another shell or on another machine works on the same study, and goes on with what was stopped.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any
from warnings import simplefilter

from kindling.cli.arguments import Arguments, own_options, read_arguments, settings_of_flags
from kindling.cli.misspelt import names_of, refuse_misspelt
from kindling.core.config_files import read_yaml
from kindling.core.errors import UsageError
from kindling.run.folder import ROOT

if TYPE_CHECKING:  # optuna takes half a second to import
    from kindling.study.space import Space
    from kindling.study.trials import Trials

TRIALS = 40
EPILOG = """\
All other flags are those of kindling fit. A space is a YAML file of settings, each with the values it can take:

  model.optimizer.lr: {log: [1e-4, 1e-1]}            on a logarithmic scale
  model.dropout: {float: [0, 0.5]}                   with step: 0.1, in such steps
  data.batch_size: {int: [16, 128], step: 16}        whole numbers
  model.norm: {choice: [batch, layer, null]}         one of these
  model: {choice: {MLP: {model.activation: {choice: [relu, gelu]}}, CNN: }}    with settings for one choice only
"""
# What the command of a trial decides itself.
OF_A_TRIAL = ("--resume", "--run-id", "--test", "--find")


def main(argv: list[str]) -> None:
    options, fit = _parse(argv)
    refuse_misspelt(settings_of_flags(fit), [*names_of(own_options("fit")), *names_of(option_parser())])
    if options.study:
        return _show(options, fit)
    if not options.space:
        raise UsageError(
            "nothing says what to search: give --space FILE, such as configs/spaces/mlp.yaml, or --study FOLDER to "
            "see how a study stands"
        )
    if taken := [flag for flag in fit if flag.partition("=")[0] in OF_A_TRIAL]:
        raise UsageError(f"sweep takes no {taken[0].partition('=')[0]}: it begins a run for each trial")
    name = [f"--name={options.name}"] if options.name is not None else []
    from kindling.cli.study_report import finish, show
    from kindling.cli.study_workers import Workers
    from kindling.study.space import Space
    from kindling.study.trials import Trials

    arguments = read_arguments(["fit", *fit, *name])
    space = Space(read_yaml(options.space), str(options.space))
    if twice := [flag for flag in fit if flag[2:].partition("=")[0] in space.keys]:
        raise UsageError(f"{twice[0].partition('=')[0]} is also in {space.source}: leave out one of them")
    trials = Trials(ROOT / f"{arguments.name}_study", options.storage)
    about = _study(trials, arguments, space, options.search, fit)
    most = options.trials or (None if options.search == "grid" else TRIALS)
    Workers(trials, space, fit, about, options.workers, most).run()
    show(trials, about)
    if options.finish and trials.at_work():
        print("other workers have running trials: --finish is left to the last of them")
    elif options.finish:
        finish(trials, about)


def option_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "kindling sweep",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        exit_on_error=False,
    )
    parser.add_argument("--space", metavar="FILE", type=Path, help="what to search")
    parser.add_argument("--trials", metavar="N", type=_count, help=f"trials in the study ({TRIALS}; the whole grid)")
    parser.add_argument("--workers", metavar="N", type=_count, default=1, help="trials at a time on this machine (1)")
    search = parser.add_mutually_exclusive_group()
    for name, what in (("grid", "try every combination"), ("random", "draw at random, not near the best so far")):
        search.add_argument(f"--{name}", dest="search", action="store_const", const=name, default="tpe", help=what)
    parser.add_argument("--name", metavar="NAME", help=f"the study is {ROOT}/NAME_study (the experiment's name)")
    parser.add_argument("--storage", metavar="URL", help="a database for the study's record (a file in its folder)")
    parser.add_argument("--study", metavar="FOLDER", type=Path, help="show how a study stands")
    parser.add_argument("--finish", action="store_true", help="train the best settings over 3 seeds, and test them")
    return parser


def _parse(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Sweep's own options, and what is left for each trial's fit."""
    try:
        return option_parser().parse_known_args(argv)
    except argparse.ArgumentError as error:
        raise UsageError(f"{error.argument_name}: {error.message}") from error


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
    return int(text)


def _study(trials: "Trials", arguments: Arguments, space: "Space", search: str, fit: list[str]) -> dict[str, Any]:
    """Make the study, or join it; what it is about."""
    from kindling.study.space import parameters
    from kindling.study.trials import as_plain, differing

    about = as_plain({"settings": arguments.values, "space": space.content, "search": search})
    if not trials.exist():
        found = checked(arguments, space)
        grid = [parameters(values) for values in space.grid()] if search == "grid" else []
        trials.make(about | {"fit": fit, "source": space.source, **found}, grid)
    there = trials.open()
    if difference := differing(there, about):
        other = "give --name NAME for a study of its own"
        raise UsageError(f"{trials.folder} is a study of something else, in which {difference} differs: {other}")
    return there


def checked(arguments: Arguments, space: "Space") -> dict[str, Any]:
    """Refuse what the trials could not do, in a process of its own: this one would hold data and GPU to its end."""
    spawn = get_context("spawn")
    with ProcessPoolExecutor(1, spawn, initializer=simplefilter, initargs=("ignore",)) as pool:  # as in this process
        return pool.submit(check, arguments, space).result()


def check(arguments: Arguments, space: "Space") -> dict[str, Any]:
    """See `study_check.check`."""
    from kindling.cli import study_check  # takes seconds

    return study_check.check(arguments, space)


def _show(options: argparse.Namespace, fit: list[str]) -> None:
    if fit or options.space or options.trials:
        given = fit[0] if fit else "--space" if options.space else "--trials"
        raise UsageError(
            f"--study only shows a study and takes no {given}: to go on with it, give its --config and --space"
        )
    from kindling.cli.study_report import finish, show
    from kindling.study.trials import Trials

    trials = Trials(options.study, options.storage)
    if not trials.exist():
        there = ", ".join(sorted(str(path.parent.parent) for path in ROOT.glob("*/locks/study"))) or "no study yet"
        raise UsageError(f"no study in {options.study}: expected its folder, and its --storage if it has one ({there})")
    about = trials.open()
    show(trials, about)
    if options.finish:
        finish(trials, about)
