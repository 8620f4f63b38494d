"""What `--help` says first is true: each line against the real parser, and each name against what can be built."""

import inspect
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from conftest import Result

import kindling.data
from kindling.cli.arguments import own_options, read_arguments
from kindling.cli.build import Parts, default_callbacks
from kindling.cli.help import first_screen
from kindling.cli.help_texts import ABOUT, COMMANDS, ENGINE_DATA, GROUPS, Option
from kindling.cli.misspelt import KEYS
from kindling.core import source_names
from kindling.core.config_problems import Options
from kindling.core.parts import classes_of, load_projects
from kindling.core.settings import settings_in
from kindling.core.source_names import names_in_projects

Run = Callable[..., Result]
OPTIONS = list({option: None for groups in GROUPS.values() for group in groups.values() for option in group})
OWN = ("--config", "--run", "--resume", "--ckpt", "--name", "--run-id", "--test", "--find")
IN_WORDS = ("the model's own", "by the targets", "the config's", "version_N")  # defaults that are no values
# What is a value of each type, and what is none; `a name` is any text, or the name of a class.
VALUES = {
    "a whole number": (["3"], ["few", "0.5"]),
    "a number": (["0.5"], ["few"]),
    "true or false": (["true", "false"], ["maybe"]),
    "true": (["true"], ["maybe"]),
    "false": (["false"], ["maybe"]),
    "null": (["null"], []),
    "a name": ([], []),
    "an import path": ([], []),
}


@cache
def parsed() -> tuple[Options, dict[str, object]]:
    """What can be set for a model and a data set, and the value of each setting that nobody sets."""
    parts = Parts(read_arguments(["fit", "--model", "MLP", "--data", "Digits"]))
    options = Options(parts.parser)
    assert options.problem("model", "MLP") is options.problem("data", "Digits") is None
    return options, dict(settings_in(parts.dump()))


def types_of(option: Option) -> list[str]:
    return re.split(r", | or ", option.takes)


def by_flag(option: Option) -> str:
    return option.flag


@pytest.mark.parametrize("option", [each for each in OPTIONS if each.flag not in OWN], ids=by_flag)
def test_a_flag_of_the_first_screen_is_what_it_says(option: Option) -> None:
    options, defaults = parsed()
    key = option.flag.removeprefix("--")
    if not option.default and key.startswith("data."):  # of some data sets
        for name in re.findall(r"[A-Z]\w+", option.meaning):
            assert key.removeprefix("data.") in inspect.signature(getattr(kindling.data, name)).parameters
        return
    assert key in options.types
    if option.default and option.default not in IN_WORDS:
        assert defaults[key] == yaml.safe_load(option.default)
    for type_ in types_of(option):
        good, bad = VALUES.get(type_, ([type_], []))
        assert all(options.problem(key, value) is None for value in good)
        if all(each in VALUES for each in types_of(option)):  # a word, such as auto, may be one of many
            assert all(options.problem(key, value) for value in bad[:1])


@pytest.mark.parametrize("command", ABOUT)
def test_kindlings_own_options_are_on_the_first_screen(command: str) -> None:
    own = own_options(command)
    for option in (option for group in GROUPS[command].values() for option in group if option.flag in OWN):
        name = option.flag.lstrip("-").replace("-", "_")
        values = [value for value in types_of(option) if " " not in value] or ["some"]
        for value in {"true", "false"} if option.takes == "true or false" else values:
            given = own.parse_args([option.flag, value])
            assert value in map(str, [*given.configs, getattr(given, name, None)])
        if option.flag in ("--test", "--find"):
            with pytest.raises(Exception, match="invalid choice"):
                own.parse_args([option.flag, "other"])
    if command == "fit":
        assert own.parse_args([]).test == "true"


def test_names_of_the_first_screen_are_those_that_can_be_built() -> None:
    import lightning as L

    load_projects()
    screen = " ".join(first_screen("fit").split())
    for flag, base in (("--model", L.LightningModule), ("--data", L.LightningDataModule)):
        (listed,) = re.findall(rf" {flag} a name or an import path: (.*?) --", screen)
        names = re.split(", ", re.sub(r" Model$", "", listed))
        built = {cls.__name__ for path, cls in classes_of(base).items() if path.startswith("my_project.")}
        assert built <= set(names)
        assert set(names) - built == (set(ENGINE_DATA) if flag == "--data" else set())
    assert set(ENGINE_DATA) == {
        name for name in vars(kindling.data) if inspect.isclass(each := getattr(kindling.data, name)) and issubclass(each, kindling.Data)
    }  # fmt: skip


def test_the_first_screen_without_a_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_names, "entry_points", lambda group: [])
    screen = first_screen("fit")
    assert "a name or an import path: any LightningModule\n" in screen
    assert "--model.help NAME" in screen


def test_names_in_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "of_a_cloner" / "deep").mkdir(parents=True)
    (tmp_path / "of_a_cloner/nets.py").write_text(
        "import lightning as L\nfrom abc import abstractmethod\nraise RuntimeError('imported')\n"
        "class GAN(L.LightningModule): ...\nclass _Hidden(GAN): ...\nclass Layer(nn.Module): ...\n"
        "class Base(Generic[T], Model[T]):\n    @abstractmethod\n    def grow(self): ...\n"
    )
    (tmp_path / "of_a_cloner/deep/more.py").write_text("class small(_Hidden): ...\nclass Tree(Base): ...\n")
    (tmp_path / "of_a_cloner/broken.py").write_text("class Lost(Model:\n")
    (tmp_path / "of_a_cloner/deep.py").write_text("(" * 5_000)
    (tmp_path / "of_a_cloner/warned.py").write_text("class Warned(Model): ...\ndigits = '\\d'\n")
    (tmp_path / "of_one_file.py").write_text("class Single(Model): ...\n")
    (tmp_path / "fails.py").write_text("raise RuntimeError('of a parent, which has to be imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    points = [
        type("Point", (), {"value": name})
        for name in ("of_a_cloner", "of_one_file", "gone", "gone.deeper", "fails.deeper")
    ]
    monkeypatch.setattr(source_names, "entry_points", lambda group: points)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a warning would stand in the help, since Python 3.12 for each \d
        found = names_in_projects(("Model", "LightningModule"))
    assert found == ["GAN", "Single", "small", "Tree", "Warned"]
    assert "of_a_cloner" not in sys.modules


def test_keys_are_the_parsers_groups() -> None:
    options, _ = parsed()
    assert set(KEYS) == {key.partition(".")[0] for key in options.types} >= set(default_callbacks())


@pytest.mark.parametrize(("command", "columns"), [("fit", 60), ("fit", 100), ("test", 100), ("data", 100)])
def test_the_first_screen_fits_on_a_screen(command: str, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = first_screen(command).splitlines()
    options = [line for line in lines if line.startswith("  --")]
    assert len(options) == sum(map(len, GROUPS[command].values())) + 4
    assert max(map(len, lines[3:])) <= columns
    assert columns < 100 or len(lines) <= 45


def test_every_command_that_is_listed_is_there_and_every_example_parses(project: Path) -> None:
    listed = re.findall(r"^  ([a-z]+)  ", COMMANDS, re.MULTILINE)
    for command in listed:
        module = {"validate": "evaluate", "test": "evaluate"}.get(command, command)
        assert callable(import_module(f"kindling.cli.{module}").main)
    for example in re.findall(r"^  kindling (.*)$", COMMANDS, re.MULTILINE):
        assert example.split()[0] in listed
        if "latest" not in example and "predict" not in example:
            assert read_arguments(example.split()).settings


def test_help_waits_for_nothing_that_takes_seconds() -> None:
    commands = re.findall(r"^  ([a-z]+)  ", COMMANDS, re.MULTILINE)
    argvs = [["--help"], ["help"], [], ["--version"], ["help", "fit"], *([command, "-h"] for command in commands)]
    script = (
        "import sys; from kindling.cli import main\n"
        "for line in sys.argv[1:]:\n"
        "    try: assert main(line.split()) == 0\n"
        "    except SystemExit as ended: assert ended.code in (None, 0)\n"
        "print({'torch', 'lightning', 'jsonargparse', 'pandas', 'optuna', 'numpy', 'shtab'} & set(sys.modules))"
    )
    argv = [sys.executable, "-c", script, *map(" ".join, argvs)]
    told = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert told.endswith("set()\n")
    assert told.count(COMMANDS) == 3
    assert told.count("usage: kindling fit ") == 2
    for command in commands:
        assert re.search(rf"^(usage: |`)kindling {command} ", told, re.MULTILINE)


def test_all_of_help(kindling: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        kindling("fit", "--help", "all")
    assert ended.value.code == 0
    told = capsys.readouterr().out
    options, _ = parsed()
    shown = {*re.findall(r"--([\w.]+)", told)}
    assert {key for key, type_ in options.types.items() if not key.startswith(("model.", "data."))} <= shown
