import pytest

from kindling.figures.study import Trial, history, importances, slices

TRIALS = [
    Trial(0, 0.5, {"lr": 1e-4, "norm": "batch", "dropout": 0.1}, was_stopped=False),
    Trial(1, 0.9, {"lr": 1e-1, "norm": None, "dropout": 0.2}, was_stopped=True),
    Trial(2, 0.7, {"lr": 1e-3, "norm": "batch"}, was_stopped=False),
    Trial(3, 0.3, {"lr": 1e-2, "norm": "layer", "cost_in_$": 3}, was_stopped=False),
]


@pytest.mark.parametrize(("mode", "best"), [("min", [0.5, 0.5, 0.3]), ("max", [0.5, 0.7, 0.7])])
def test_the_history_is_of_each_trial_and_the_best_so_far(mode: str, best: list[float]) -> None:
    (axes,) = history(TRIALS, "val/loss", mode).axes
    stopped, ended = (points.get_offsets().tolist() for points in axes.collections)
    assert stopped == [[1, 0.9]]
    assert ended == [[0, 0.5], [2, 0.7], [3, 0.3]]
    (line,) = axes.lines
    assert line.get_xydata().tolist() == [[number, value] for number, value in zip((0, 2, 3), best, strict=True)]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "stopped early",
        "complete",
        "the best so far",
    ]


def test_the_most_important_setting_is_on_top() -> None:
    (axes,) = importances({"a": 0.75, "b": 0.25}).axes
    assert [bar.get_width() for bar in axes.patches] == [0.25, 0.75]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b", "a"]
    assert [text.get_text() for text in axes.texts] == ["25%", "75%"]


def test_a_slice_is_of_the_trials_that_have_the_setting_on_a_scale_that_suits_it() -> None:
    figure = slices(TRIALS, "val/loss")
    cost, dropout, lr, norm, *rest = figure.axes
    assert [each.get_visible() for each in rest] == [False, False]
    assert [each.get_xlabel() for each in (cost, dropout, lr, norm)] == [r"cost_in_\$", "dropout", "lr", "norm"]
    assert [each.get_xscale() for each in (dropout, lr)] == ["linear", "log"]
    assert [len(points.get_offsets()) for points in dropout.collections] == [1, 1]
    assert [label.get_text() for label in norm.get_xticklabels()] == ["None", "batch", "layer"]
    assert norm.collections[0].get_offsets().tolist() == [[0, 0.9]]
    figure.draw_without_rendering()
