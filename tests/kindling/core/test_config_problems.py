"""What is wrong in a config, in one sentence; the sentences of the whole command line are in cli/test_bad_input.py."""

from typing import Any

import lightning as L
import pytest
from jsonargparse import ArgumentParser

from kindling.core.config_problems import Options, explain


class Sized(L.LightningModule):
    """A module of any make, of which one argument comes from the data and another from the user."""

    from_data = ("size",)

    def __init__(self, size: int, width: int, depth: int = 1) -> None:
        super().__init__()


@pytest.fixture
def parser() -> ArgumentParser:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(L.LightningModule, "model")
    parser.add_argument("--count", type=int, default=1)
    return parser


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"model": "Sized"}, "x.yaml: model is Sized, which needs width: set model.width"),
        ({"model": "Sized", "model.width": 3}, "what the parser says"),
        ({"model": "Sized", "model.widht": 3}, "x.yaml: unknown key model.widht: did you mean model.width?"),
        ({"model": "Sized", "model.width": "wide"}, "x.yaml: model.width is 'wide': expected int"),
        ({"model": {"class_path": "Sized", "width": 3}}, "x.yaml: model.width is beside class_path: put it under init_args"),
        ({"model.width": 3}, "x.yaml: model has no default: name one first, such as --model "),
        ({"count": None}, "x.yaml: count is null: expected int"),
        ({"model.help": "Sizde"}, "x.yaml: model is 'Sizde', which names no LightningModule here: did you mean Sized?"),
    ],
)  # fmt: skip
def test_the_first_problem_is_named(settings: dict[str, Any], sentence: str, parser: ArgumentParser) -> None:
    listed = [("x.yaml", key, value) for key, value in settings.items()]
    assert explain(parser, listed, "what the parser says").startswith(sentence)


def test_without_a_message_only_what_the_parser_lets_pass_is_named(parser: ArgumentParser) -> None:
    assert explain(parser, [("x.yaml", "count", None)]) == "x.yaml: count is null: expected int"
    assert explain(parser, [("x.yaml", "model", "Sizde")]) == ""


def test_a_class_brings_its_arguments(parser: ArgumentParser) -> None:
    options = Options(parser)
    assert options.problem("model", "Sized") is None
    assert options.types["model.depth"] is int
    assert options.required("model") == {"model.width"}
