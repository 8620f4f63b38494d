"""The table of runs. Most runs here are made up: a config.yaml and a results.json."""

import csv
import json
import re
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import QUICK, Result

from kindling.cli.compare import main, print_table
from kindling.core.errors import UsageError

LOGS = Path("lightning_logs")


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write_run(name: str, *, seed: int = 0, lr: float = 0.1, **more: Any) -> Path:
    """A run that is not finished. `more` goes into model, data, trainer and checkpoint."""
    optimizer = {"class_path": "torch.optim.AdamW", "init_args": {"lr": lr, "fused": None}}
    arguments = {"hidden_sizes": [256, 128], "optimizer": optimizer, "schedule": None}
    config = {
        "seed_everything": seed,
        "trainer": {"max_epochs": 20, "logger": None} | more.get("trainer", {}),
        "model": {
            "class_path": more.get("model", "my_project.models.mlp.MLP"),
            "init_args": arguments | more.get("arguments", {}),
        },
        "data": {"class_path": "my_project.data.digits.Digits", "init_args": {"split_seed": 0} | more.get("data", {})},
        "checkpoint": {"monitor": "val/loss", "mode": "min"} | more.get("checkpoint", {}),
        "figures": {"enabled": True} | more.get("figures", {}),
    }
    run = LOGS / name
    run.mkdir(parents=True)
    (run / "config.yaml").write_text(f"# lightning.pytorch==2.6.6\n{yaml.safe_dump(config, sort_keys=False)}")
    return run


def finish(run: Path, loss: float | None = 0.5, accuracy: float | None = 0.9, **more: Any) -> Path:
    metrics = {"loss": loss, "accuracy": accuracy, "f1": accuracy}
    known = {"best_epoch": 9, "epochs": 20, "parameters": 51210, "seconds": 7.5, "samples_per_second": 99.0}
    results = {"val": metrics, "test": metrics, "class_counts": {"train": {"0": 3}}, **known, **more}
    (run / "results.json").write_text(json.dumps(results))
    return run


Compare = Callable[..., list[list[str]]]


@pytest.fixture
def table(capsys: pytest.CaptureFixture[str]) -> Compare:
    """Compares, and returns the cells of the table, the lines of its header joined."""

    def run(*argv: object) -> list[list[str]]:
        main([str(part) for part in argv])
        return cells(capsys.readouterr().out)

    return run


def cells(out: str) -> list[list[str]]:
    lines = out.splitlines()
    headers = [[cell.strip() for cell in line.split("┃")[1:-1]] for line in lines if line.startswith("┃")]
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if line.startswith("│")]
    return [["".join(parts) for parts in zip(*headers, strict=True)], *rows]


def names(rows: list[list[str]]) -> list[str]:
    return [row[0].removeprefix("lightning_logs/") for row in rows[1:]]


def read_csv(path: str) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_best_run_comes_first_with_what_differs(capsys: pytest.CaptureFixture[str]) -> None:
    schedule = {"schedule": {"class_path": "kindling.models.schedules.WarmupCosine"}}
    finish(write_run("mlp/version_0"), 0.5, 0.9)
    finish(write_run("mlp/version_1", lr=0.01, arguments=schedule), 0.25, 0.95, seconds=1234.56)
    main([])
    out = capsys.readouterr().out
    assert out.startswith("best first by val/loss, where less is better\n")
    header, best, other = cells(out)
    assert header[:3] == ["run", "model.optimizer.lr", "model.schedule"]
    assert header[3:] == ["val/loss", "val/accuracy", "test/accuracy", "parameters", "seconds"]
    assert best[:3] == ["lightning_logs/mlp/version_1", "0.01", "WarmupCosine"]  # a path that --run takes
    assert best[3:] == ["0.2500", "0.9500", "0.9500", "51,210", "1,234.6"]
    assert other[1:] == ["0.1", "–", "0.5000", "0.9000", "0.9000", "51,210", "7.5"]


def test_classes_differ_by_their_name_and_lists_by_their_items(table: Compare) -> None:
    def callbacks(patience: int) -> dict[str, Any]:
        return {"callbacks": [{"class_path": "lightning.EarlyStopping", "init_args": {"patience": patience}}]}

    finish(write_run("a", trainer=callbacks(3)))
    finish(write_run("b", trainer=callbacks(4), model="my_project.models.cnn.CNN", arguments={"hidden_sizes": [8]}))
    header, *rows = table()
    assert header[1:4] == ["model", "trainer.callbacks.0.patience", "model.hidden_sizes"]
    assert [row[1:4] for row in rows] == [["MLP", "3", "[256, 128]"], ["CNN", "4", "[8]"]]


def test_seeds_and_folds_are_one_row(table: Compare) -> None:
    losses, accuracies = [0.2, 0.4, 0.9], [0.9, 0.8, 0.95]
    for number in range(3):
        run = write_run(f"mlp/version_{number + 9}", seed=number, data={"folds": 3, "fold": number})
        finish(run, losses[number], accuracies[number], seconds=float(number))
    finish(write_run("mlp/version_2", lr=3.0, data={"folds": 3, "fold": 0}), 0.6)
    header, mean, single = table("--csv", "all.csv")
    assert header[:3] == ["run", "runs", "model.optimizer.lr"]
    assert mean[:3] == ["lightning_logs/mlp/version_9", "3", "0.1"]
    assert mean[3:] == ["0.5000 ±0.3606", "0.8833 ±0.0764", "0.8833 ±0.0764", "51,210", "1"]
    assert single[1:4] == ["1", "3.0", "0.6000"]
    first, second = read_csv("all.csv")
    assert (first["run"], first["runs"], second["runs"]) == ("lightning_logs/mlp/version_9", "3", "1")
    assert float(first["val/loss"]) == pytest.approx(statistics.mean(losses), rel=1e-12)
    assert float(first["val/loss std"]) == pytest.approx(statistics.stdev(losses), rel=1e-12)
    assert float(first["test/f1 std"]) == pytest.approx(statistics.stdev(accuracies), rel=1e-12)
    assert (first["model.optimizer.lr"], first["seconds"], second["val/loss std"]) == ("0.1", "1.0", "")
    assert "trainer.max_epochs" not in first


def test_another_split_is_another_row(table: Compare) -> None:
    for seed in range(2):
        finish(write_run(f"version_{seed}", data={"split_seed": seed}))
    header, *rows = table()
    assert header[1] == "data.split_seed"
    assert [row[1] for row in rows] == ["0", "1"]


def test_what_no_result_depends_on_makes_no_difference(table: Compare) -> None:
    finish(write_run("version_10"))
    trainer = {"default_root_dir": "/x", "logger": {"class_path": "lightning.CSVLogger"}, "enable_progress_bar": False}
    finish(write_run("version_9", trainer=trainer, data={"workers": 4, "cache": "/tmp"}, figures={"enabled": False}))
    header, row = table()
    assert (row[0], row[1], header[2]) == ("lightning_logs/version_9", "2", "val/loss")


def test_models_that_log_no_loss_by_this_name_are_sorted_by_their_first_metric(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for number, loss in enumerate([0.5, 0.25]):
        values = {"val_loss": loss, "score": 1.0}
        finish(write_run(f"gan/version_{number}", checkpoint={"monitor": None, "mode": None}), val=values, test={})
    main([])
    out = capsys.readouterr().out
    assert out.startswith("best first by val/val_loss, where less is better\n")
    header, mean = cells(out)
    assert header[:3] == ["run", "runs", "val/val_loss"]
    assert mean[2] == "0.3750 ±0.1768"


def test_a_run_that_is_given_twice_counts_once(table: Compare) -> None:
    finish(write_run("mlp/version_0"))
    finish(write_run("cnn/version_0", lr=1.0))
    rows = table(LOGS / "mlp", "--sort", "val/loss", LOGS, LOGS / "mlp" / "version_0", LOGS.resolve())
    assert len(rows) == 3
    assert "runs" not in rows[0]


@pytest.mark.parametrize(
    ("checkpoints", "best"),
    [
        ([{}, {}], "low"),
        ([{"monitor": "val/accuracy", "mode": "max"}] * 2, "high"),
        ([{"mode": "max"}] * 2, "high"),
        ([{"monitor": "val/accuracy", "mode": "max"}, {}], "low"),
        ([{"monitor": "train/loss", "mode": "max"}] * 2, "low"),
        ([{"monitor": "val/loss", "mode": None}] * 2, "low"),  # which the name tells
    ],
)
def test_the_checkpoints_say_what_is_best(checkpoints: list[dict[str, str]], best: str, table: Compare) -> None:
    for (name, value), checkpoint in zip([("low", 0.1), ("high", 0.2)], checkpoints, strict=True):
        finish(write_run(name, lr=value, checkpoint=checkpoint), value, value)
    assert names(table())[0] == best


@pytest.mark.parametrize(
    ("metric", "best"),
    [
        ("val/loss", "low"),
        ("test/f1", "high"),
        ("seconds", "low"),
        ("parameters", "low"),
        ("val/rmse", "low"),
        ("test/calibration_error", "low"),
        ("samples_per_second", "high"),
    ],
)
def test_sort_by_a_metric(metric: str, best: str, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in [("low", 0.1), ("high", 0.2)]:
        every = dict.fromkeys(("loss", "f1", "rmse", "calibration_error"), value)
        rest = dict.fromkeys(("seconds", "parameters", "samples_per_second"), value * 100)
        finish(write_run(name, lr=value), val=every, test=every, **rest)
    main(["--sort", metric])
    out = capsys.readouterr().out
    assert out.startswith(f"best first by {metric}, where {'less' if best == 'low' else 'more'} is better")
    assert names(cells(out))[0] == best
    assert cells(out)[0].count(metric) == 1


def test_nan_comes_last_of_the_finished_and_then_the_unfinished(capsys: pytest.CaptureFixture[str]) -> None:
    write_run("a")
    finish(write_run("b", lr=1.0), None, 0.5)
    finish(write_run("c", lr=2.0), 0.9)
    finish(write_run("d", lr=3.0), float("nan"))
    finish(write_run("e", lr=4.0), 0.1)
    finish(write_run("f", lr=4.0, seed=1), None)  # and with it the mean
    finish(write_run("g", seed=2), 1.0)
    write_run("h", seed=1)
    main([])
    out = capsys.readouterr().out
    rows = cells(out)
    assert names(rows) == ["c", "g", "b", "d", "e", "a"]
    assert [row[3] for row in rows[1:]] == ["0.9000", "1.0000", "–", "–", "–", "–"]
    assert (rows[5][1], rows[5][4]) == ("2", "0.9000 ±0.0000")
    assert rows[6][1:] == ["2", "0.1", *"–––––"]
    assert "2 unfinished, shown last: kindling fit --resume RUN" in out
    assert "ended early" not in out


def test_a_run_that_its_study_has_ended_is_not_called_unfinished(capsys: pytest.CaptureFixture[str]) -> None:
    finish(write_run("a"), 0.5)
    write_run("b", lr=1.0)
    (write_run("c", lr=2.0) / "ended_early.txt").touch()
    (write_run("d", lr=3.0) / "ended_early.txt").touch()
    main([])
    told = capsys.readouterr().out.splitlines()[-2:]
    assert told[0] == "2 ended early in a study, shown last"
    assert told[1].startswith("1 unfinished, shown last: ")


def test_nothing_but_unfinished_runs(table: Compare) -> None:
    write_run("a")
    assert table()[1:] == [["lightning_logs/a", "–", "–"]]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.yaml", "model: [1"),
        ("config.yaml", ""),
        ("config.yaml", "- model"),
        ("config.yaml", "seed_everything: 0"),
        ("config.yaml", "model: {class_path: }\ndata: 3"),
        ("results.json", '{"val": {"loss": 0.1'),
        ("results.json", "[]"),
        ("results.json", '{"val": {"loss": "low"}}'),
        ("results.json", "\xff"),
    ],
)
def test_a_damaged_run_is_named_and_left_out(file: str, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("good", "bad"):
        finish(write_run(name))
    (LOGS / "bad" / file).write_bytes(content.encode("latin-1"))
    main([])
    out = capsys.readouterr().out
    assert names(cells(out)) == ["good"]
    assert f"damaged, so its run is left out: lightning_logs/bad/{file}\n" in out
    with pytest.raises(UsageError, match="^there are no runs to compare: all are damaged$"):
        main([str(LOGS / "bad")])


def test_runs_of_different_tasks(table: Compare) -> None:
    finish(write_run("digits"), 0.5)
    metrics = {"loss": 0.1, "mae": 0.25, "r2": 0.9}
    finish(write_run("sine", lr=1.0), val=metrics, test=metrics, parameters=7)
    header, sine, digits = table("--sort", "test/r2")
    assert header[2:7] == ["val/loss", "val/mae", "val/accuracy", "test/mae", "test/accuracy"]
    assert header[7:] == ["test/r2", "parameters", "seconds"]
    assert sine[2:] == ["0.1000", "0.2500", "–", "0.2500", "–", "0.9000", "7", "7.5"]
    assert digits[2:] == ["0.5000", "–", "0.9000", "–", "0.9000", "–", "51,210", "7.5"]


def test_of_many_settings_those_that_most_runs_have_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    only = {f"only_{number}": 1 for number in range(9)}
    finish(write_run("a", arguments=only | {"width": 1}, trainer={"precision": "16-mixed"}))
    finish(write_run("b", arguments={"width": 2}, trainer={"precision": "32-true"}), 0.9)
    main(["--csv", "all.csv"])
    out = capsys.readouterr().out
    assert cells(out)[0][1:7] == ["trainer.precision", "model.width", *(f"model.only_{number}" for number in range(4))]
    assert "6 of 11 settings that differ are shown: --csv FILE has them all" in out
    first, second = read_csv("all.csv")
    assert (first["model.only_8"], second["model.only_8"]) == ("1", "")


def test_a_pipe_gets_wide_lines_and_a_terminal_what_fits(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2):
        different = {f"a_setting_with_a_long_name_{key}": f"[a] long :value: {number}" for key in range(6)}
        for seed in range(2):
            finish(write_run(f"an_experiment/version_{number}{seed}", seed=seed, arguments=different))
    monkeypatch.setenv("COLUMNS", "100")
    main([])
    header, best, _ = cells(capsys.readouterr().out)
    assert len(header) == 13
    assert {"lightning_logs/an_experiment/version_00", "0.5000 ±0.0000", "[a] long :value: 0"} <= {*best}

    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    main([])
    narrow = re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out)
    assert max(map(len, narrow.splitlines())) <= 100
    header, mean, deviation, *_ = cells(narrow)
    assert header[2].startswith("model.a_setting_with_a_long_name_0")
    assert (mean[-4], deviation[-4]) == ("0.9000", "±0.0000")  # no number is broken
    assert "3 of 6 settings that differ are shown" in narrow


def test_one_table_in_one_call(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([finish(write_run(f"version_{fold}", data={"folds": 2, "fold": fold}), fold + 1) for fold in range(2)])
    assert cells(capsys.readouterr().out)[1][:3] == ["lightning_logs/version_0", "2", "1.5000 ±0.7071"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["nowhere"], "there is no run in nowhere: expected runs, or folders of runs, as fit makes in lightning_logs/"),
        (["lightning_logs", "empty"], "there is no run in empty"),
        (["lightning_logs/a/config.yaml"], "there is no run in lightning_logs/a/config.yaml"),
        (["--sort", "accuracy"], "no run has 'accuracy' to sort by: expected one of val/loss, .*samples_per_second$"),
        (["--sort", ""], "no run has '' to sort by"),
        (["--sort"], "--sort: expected one argument"),
        (
            ["--sotr", "seconds"],
            "unknown option --sotr: did you mean --sort\\? kindling compare takes .*--sort, --csv$",
        ),
        (["--csv", "nowhere/all.csv"], "can't write --csv nowhere/all.csv: .*non-existent directory"),
        (["--csv", "empty"], "can't write --csv empty: Is a directory"),
    ],
)
def test_what_is_refused(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    finish(write_run("a"))
    Path("empty").mkdir()
    with pytest.raises(UsageError, match=message) as refused:
        main(argv)
    assert "\n" not in str(refused.value)
    assert capsys.readouterr().out == ""


def test_no_runs_yet() -> None:
    with pytest.raises(UsageError, match="there is no run in lightning_logs: expected runs"):
        main([])


def test_it_starts_without_torch() -> None:
    finish(write_run("a"))
    script = (
        "import sys; from kindling.cli.compare import main; main([]); print({'torch', 'lightning'} & set(sys.modules))"
    )
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert finished.stdout.endswith("set()\n")


def test_real_runs(kindling: Callable[..., Result], table: Compare) -> None:
    fit = ["fit", "--config", "configs/digits_mlp.yaml", "--model.hidden_sizes", "[32]", *QUICK]
    for flags in (["--seed_everything", 1], ["--seed_everything", 2], ["--model.optimizer.lr", 1e-6]):
        assert kindling(*fit, *flags).code == 0
    header, best, worst = table("lightning_logs/digits_mlp")
    assert header[2:-2] == ["model.optimizer.lr", "val/loss", "val/accuracy", "test/accuracy"]
    assert best[:3] == ["lightning_logs/digits_mlp/version_0", "2", "0.002"]
    assert worst[:3] == ["lightning_logs/digits_mlp/version_2", "1", "1e-06"]
    results = [json.loads((LOGS / f"digits_mlp/version_{number}/results.json").read_text()) for number in range(2)]
    losses = [each["val"]["loss"] for each in results]
    assert best[3] == f"{statistics.mean(losses):.4f} ±{statistics.stdev(losses):.4f}"
