"""What a command prints of its results."""

import pytest

from kindling.cli.terminal import print_metrics


def test_results_are_a_table_unless_nothing_was_measured(capsys: pytest.CaptureFixture[str]) -> None:
    print_metrics("best epoch 1 of 1", {}, {})
    assert capsys.readouterr().out == "best epoch 1 of 1\n"
    print_metrics("test", {"test": {"loss": 0.25, "auroc": float("nan")}}, {"test/auroc": "undefined: one class"})
    title, *table, note = capsys.readouterr().out.splitlines()
    assert (title, note) == ("test", "note   test/auroc is undefined: one class")
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in table if line.startswith("│")]
    assert cells == [["loss", "0.2500"], ["auroc", "undefined"]]
