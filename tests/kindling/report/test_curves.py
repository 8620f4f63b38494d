"""The curves of a run's page: which metrics are drawn together, in what order, and where their points are."""

import math
from typing import Any

import pytest

from kindling.report.curves import BOTTOM, LEFT, POINTS, RIGHT, TOP, Chart, charts
from kindling.report.scale import Scale, labelled_ticks, ticks


def rows(**columns: list[Any]) -> list[dict[str, str]]:
    """A row a value of each column, of an epoch of ten steps each."""
    return [
        {"epoch": str(epoch), "step": str(10 * epoch + 9), name.replace("__", "/"): str(value)}
        for name, values in columns.items()
        for epoch, value in enumerate(values)
    ]


def drawn(table: list[dict[str, str]], order: tuple[str, ...] = (), *monitor: str) -> list[Chart]:
    return charts(table, list(order), *(monitor or (None, None)))


def test_a_metric_is_drawn_on_both_splits_from_its_lowest_to_its_highest_value() -> None:
    (chart,) = drawn(rows(train__loss=[4, 3, 2], val__loss=[3, 0.5, 1]), (), "val/loss", "min")
    assert (chart.name, chart.unit, chart.is_logarithmic) == ("loss", "epoch", False)
    training, validation = chart.lines
    middle, height = (LEFT + RIGHT) / 2, BOTTOM - TOP
    assert (training.label, training.split) == ("training", "train")
    assert (validation.label, validation.split) == ("validation", "val")
    assert [(x, text) for x, _, text in training.dots] == [
        (LEFT, "epoch 1, training: 4.0000"),
        (middle, "epoch 2, training: 3.0000"),
        (RIGHT, "epoch 3, training: 2.0000"),
    ]
    places = [TOP + share * height for share in ((4 - 3) / 3.5, 1, (4 - 1) / 3.5)]
    assert [y for _, y, _ in validation.dots] == pytest.approx(places, abs=0.06)
    assert (
        training.path
        == f"M{LEFT} {TOP}L{middle:g} {round(TOP + height / 3.5, 1)}L{RIGHT} {round(TOP + height * 2 / 3.5, 1)}"
    )
    assert chart.best == middle  # of the lowest loss of the validation
    assert [label for _, label in chart.x_ticks] == ["1", "2", "3"]
    assert [label for _, label in chart.y_ticks] == ["1", "2", "3", "4"]
    assert chart.described == "loss by epoch: training from 4.0000 to 2.0000; validation from 3.0000 to 1.0000"


def test_the_loss_is_first_then_as_results_say_then_what_is_validated_and_the_engines_own_last() -> None:
    table = rows(gradient_norm=[1], learning_rate=[1], loss_of_critic=[1], val__a=[1], val__f1=[1], val__loss=[1])
    names = [chart.name for chart in drawn(table, ("loss", "f1"))]
    assert names == ["loss", "f1", "a", "loss_of_critic", "gradient_norm", "learning_rate"]


@pytest.mark.parametrize(
    ("column", "name", "label", "split"),
    [
        ("val_loss", "loss", "validation", "val"),
        ("valid_loss", "loss", "validation", "val"),
        ("validation/loss", "loss", "validation", "val"),
        ("training_loss", "loss", "training", "train"),
        ("train_loss_epoch", "loss", "training", "train"),
        ("train_loss_step", "loss_step", "training", "train"),
        ("val/loss/dataloader_idx_1", "loss", "validation, loader 1", "val"),
        ("value", "value", "value", ""),
        ("d_loss", "d_loss", "d_loss", ""),
    ],
)
def test_names_by_which_others_log(column: str, name: str, label: str, split: str) -> None:
    (chart,) = drawn([{"epoch": "0", "step": "9", column: "1.5"}])
    assert (chart.name, chart.lines[0].label, chart.lines[0].split) == (name, label, split)


def test_what_is_no_finite_number_is_left_out_as_is_the_test() -> None:
    (chart,) = drawn(rows(val__loss=[1, "nan", "inf", "", "text", 2], test__loss=[7], val__r2=["nan"]))
    assert [point.value for point in chart.lines[0].points] == [1, 2]


def test_a_metric_of_each_step_is_drawn_by_step() -> None:
    table = [{"epoch": "0", "step": str(step), "train/loss": "1"} for step in (0, 50, 100)]
    (chart,) = drawn([*table, {"epoch": "0", "step": "100", "val/loss": "2"}], (), "val/loss", "min")
    assert chart.unit == "step"
    assert [text for *_, text in chart.lines[0].dots][-1] == "step 101, training: 1.0000"
    assert chart.best == RIGHT
    (chart,) = drawn([{"epoch": "", "step": "7", "reward": "1"}])  # a callback's
    assert (chart.unit, chart.best) == ("step", None)


def test_the_best_is_the_first_of_those_alike_and_by_its_mode() -> None:
    table = rows(val__accuracy=[0.5, 0.9, 0.9])
    middle = (LEFT + RIGHT) / 2
    assert [drawn(table, (), "val/accuracy", mode)[0].best for mode in ("max", "min")] == [middle, LEFT]
    assert drawn(table, (), "val/loss", "min")[0].best is None  # which was not logged


def test_a_long_line_keeps_its_highest_and_lowest_values() -> None:
    values = [math.sin(step) for step in range(20_000)]
    values[12_345], values[777] = 9.0, -9.0
    (chart,) = drawn(rows(train__loss=values))
    (line,) = chart.lines
    assert 0.9 * POINTS <= line.path.count("L") + 1 <= POINTS
    assert line.dots == []
    heights = [float(pair.split()[1]) for pair in line.path[1:].split("L")]
    assert (min(heights), max(heights)) == (TOP, BOTTOM)
    assert heights.count(TOP) == heights.count(BOTTOM) == 1


def test_a_loss_of_several_magnitudes_is_on_a_logarithmic_scale() -> None:
    (chart,) = drawn(rows(train__loss=[10, 1, 0.1, 0.01]))
    assert chart.is_logarithmic
    assert [label for _, label in chart.y_ticks] == ["0.01", "0.1", "1", "10"]
    assert [y for _, y, _ in chart.lines[0].dots] == pytest.approx(
        [TOP + (BOTTOM - TOP) * n / 3 for n in range(4)], abs=0.06
    )
    assert not drawn(rows(train__loss=[10, 0]))[0].is_logarithmic


@pytest.mark.parametrize(
    ("low", "high", "whole", "labels"),
    [
        (0, 1, False, ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
        (0.84, 0.99, False, ["0.85", "0.9", "0.95"]),
        (-300, 50, False, ["-300", "-200", "-100", "0"]),
        (1, 30, True, ["10", "20", "30"]),
        (1, 3, True, ["1", "2", "3"]),
        (5, 5, True, ["3", "4", "5", "6", "7"]),
        (0, 0, False, ["-0.4", "-0.2", "0", "0.2", "0.4"]),
        (1e6, 1e6 + 1, False, ["1000000", "1000000.2", "1000000.4", "1000000.6", "1000000.8", "1000001"]),
    ],
)
def test_round_values_stand_beside_an_axis(low: float, high: float, whole: bool, labels: list[str]) -> None:
    assert [label for _, label in labelled_ticks(Scale(low, high, 0, 100), whole)] == labels


def test_powers_of_ten_stand_beside_a_logarithmic_axis() -> None:
    assert ticks(Scale(3e-4, 20, 0, 100, True)) == pytest.approx([1e-3, 1e-2, 0.1, 1, 10])
    assert ticks(Scale(1e-12, 1, 0, 100, True)) == pytest.approx([1e-12, 1e-9, 1e-6, 1e-3, 1])
