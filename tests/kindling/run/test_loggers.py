"""Curves and tables after a kill at any instant, and on a disk that is full for a while."""

import csv
import errno
import io
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from conftest import QUICK, Result
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer

from kindling.run.loggers import run_loggers

MLP = ["--config", "configs/digits_mlp.yaml", "--model.hidden_sizes", "[32]", *QUICK]
RUN = Path("lightning_logs/digits_mlp/version_0")
# A training of two epochs of two steps; its second validation logs a metric of its own.
LOGGED: list[tuple[dict[str, Any], int]] = [
    ({"train/loss": 0.1 + 0.2, "epoch": 0}, 0),
    ({"val/loss": torch.tensor(1.5), "epoch": 0}, 1),
    ({"train/loss": float("nan"), "epoch": 1}, 2),
    ({"a/late, new one": 1e-30, "epoch": 1}, 3),
    ({"val/loss": 0.25, "epoch": 1}, 3),
]


def log(folder: Path, first_step: int | None = None, until: int = 4) -> None:
    """Train from a step until another."""
    loggers = run_loggers(folder, "fit", first_step)
    for metrics, step in LOGGED:
        if (first_step or 0) <= step < until:
            for logger in loggers:
                logger.log_metrics(metrics, step)
                logger.save()


def table(folder: Path) -> bytes:
    return (folder / "metrics.csv").read_bytes()


@pytest.fixture
def whole(tmp_path: Path) -> bytes:
    """The table of a training that nobody disturbed."""
    log(tmp_path / "whole")
    return table(tmp_path / "whole")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mount is not permitted")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk: Path) -> Path:
    rubbish = disk / "rubbish"
    with suppress(OSError), open(rubbish, "wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    return rubbish


def test_a_table_is_sorted_by_name_and_holds_every_digit(whole: bytes) -> None:
    header, *rows = csv.reader(io.StringIO(whole.decode()))
    assert header == ["a/late, new one", "epoch", "step", "train/loss", "val/loss"]
    assert rows[0] == ["", "0", "0", repr(0.1 + 0.2), ""]
    assert rows[2][3] == "nan"
    assert [row[2] for row in rows] == ["0", "1", "2", "3", "3"]


@pytest.mark.parametrize("first_step", [0, 1, 2, 3])
def test_a_table_cut_off_anywhere_is_whole_after_a_resume(first_step: int, whole: bytes, tmp_path: Path) -> None:
    log(tmp_path / "past", until=first_step)
    past = table(tmp_path / "past") if first_step else b""
    until = len(past) if past == whole[: len(past)] else len(whole)  # the column of the last step makes the file anew
    for cut in range(until, len(whole) + 1):
        folder = tmp_path / str(cut)
        folder.mkdir()
        (folder / "metrics.csv").write_bytes(whole[:cut])
        log(folder, first_step)
        assert table(folder) == whole, cut


@pytest.mark.parametrize("first_step", [0, 1, 2, 3])
def test_a_table_killed_between_two_rows_is_whole_after_a_resume(first_step: int, whole: bytes, tmp_path: Path) -> None:
    for until in range(first_step, 5):
        folder = tmp_path / str(until)
        log(folder, until=until)
        if folder.exists():
            with open(folder / "metrics.csv", "ab") as file:
                file.write(b"0,19")  # of a longer row: read as it is, it would be step 19 of epoch 0, or epoch 19
        log(folder, first_step)
        assert table(folder) == whole


def test_a_kill_while_a_column_is_added_loses_no_row(
    whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log(tmp_path, until=3)
    before = table(tmp_path)
    with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
        patch.setattr("os.replace", Mock(side_effect=KeyboardInterrupt))
        log(tmp_path, first_step=3)
    assert table(tmp_path) == before
    log(tmp_path, first_step=3)
    assert table(tmp_path) == whole


def test_what_a_step_has_logged_is_not_logged_again(whole: bytes, tmp_path: Path) -> None:
    log(tmp_path)
    for first_step in (None, 4):  # by the same process, or by one that goes on from before a validation
        loggers = run_loggers(tmp_path, "fit", first_step) if first_step else run_loggers(tmp_path / "new", "fit", None)
        for metrics, step in [LOGGED[4], LOGGED[3], LOGGED[4]]:
            for logger in loggers:
                logger.log_metrics(metrics, step)
                logger.save()
    assert table(tmp_path) == whole
    assert table(tmp_path / "new").count(b"\n") == 3
    assert curves(tmp_path / "new") == {"val/loss": [(3, 0.25)], "a/late, new one": [(3, pytest.approx(1e-30))]}
    assert curves(tmp_path)["val/loss"] == [(1, 1.5), (3, 0.25)]


def test_rows_with_a_step_of_their_own_stay_in_their_place(tmp_path: Path) -> None:
    """Those of a validation's batches have its number as their step, and are logged between two steps."""
    training = [({"train/loss": 1.0, "epoch": 0}, 4), ({"val_loss_step": 2.0}, 0), ({"val_loss_step": 3.0}, 1)]
    training += [
        ({"train/loss": 0.5, "epoch": 1}, 5),
        ({"val_loss_step": 2.5}, 2),
        ({"train/loss": 0.1, "epoch": 2}, 6),
    ]
    tables = []
    for name, resumes in (("whole", ()), ("resumed", ((3, 1), (5, 3)))):  # after so many rows, from so many on
        written, begin = 0, None
        for stop, begin_again in (*resumes, (len(training), None)):
            _, logger = run_loggers(tmp_path / name, "fit", begin)
            for metrics, step in training[written:stop]:
                logger.log_metrics(metrics, step)
            logger.save()
            written, begin = begin_again or 0, 5
        tables.append(table(tmp_path / name))
    assert tables[0] == tables[1]


def test_a_damaged_row_is_dropped(tmp_path: Path) -> None:
    log(tmp_path)
    lines = table(tmp_path).splitlines(keepends=True)
    damaged = [lines[0], b"\x00\xff\xfe\r\n", *lines[1:2], b",0,1\r\n", b",0,x,,\r\n", b"1,2,3,4,5,6\r\n", *lines[2:]]
    (tmp_path / "metrics.csv").write_bytes(b"".join(damaged))
    log(tmp_path, first_step=3)
    assert table(tmp_path) == b"".join(lines)


def events(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder)).Reload()


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    found = events(folder)
    return {tag: [(point.step, point.value) for point in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def as_shown(folder: Path) -> dict[str, list[int]]:
    """Of every tag the steps, by the way that TensorBoard's plugins read."""
    found = EventMultiplexer().AddRunsFromDirectory(str(folder)).Reload()
    tags = found.Runs()["."]["tensors"]
    return {tag: [point.step for point in found.Tensors(".", tag)] for tag in tags}


def show(folder: Path, first_step: int | None, steps: range) -> None:
    """Log a scalar, an image and a histogram a step, and the layout once."""
    board, _ = run_loggers(folder, "fit", first_step)
    if not first_step:
        board.experiment.add_custom_scalars({"all": {"loss": ["Multiline", ["loss"]]}})
    for step in steps:
        board.log_metrics({"loss": step / 4}, step)
        board.experiment.add_image("figure", np.full((3, 4, 4), step, np.uint8), step)
        board.experiment.add_histogram("weights", np.arange(step + 2), step)
    board.save()


@pytest.mark.parametrize("first_step", [0, 3])
def test_tensorboard_shows_one_curve_after_a_kill(first_step: int, tmp_path: Path) -> None:
    show(tmp_path, None, range(6))
    show(tmp_path, first_step, range(first_step, 8))
    assert curves(tmp_path) == {"loss": [(step, step / 4) for step in range(8)]}
    images = [image.step for image in events(tmp_path).Images("figure")]
    assert images == sorted(set(images))
    assert images[-1] == 7
    each = list(range(8))
    assert as_shown(tmp_path) == {"custom_scalars__config__": [0], "loss": each, "figure": each, "weights": each}


def test_what_is_logged_is_on_disk_after_a_save(tmp_path: Path) -> None:
    show(tmp_path, None, range(2))
    assert as_shown(tmp_path)["weights"] == as_shown(tmp_path)["figure"] == [0, 1]
    assert len(list(tmp_path.iterdir())) == 1


def test_an_event_that_was_cut_off_hides_no_other(tmp_path: Path) -> None:
    show(tmp_path, None, range(2))
    (path,) = tmp_path.glob("*tfevents*")
    written, start = path.read_bytes(), path.stat().st_size
    board, _ = run_loggers(tmp_path, "fit", None)
    board.log_metrics({"loss": 0.5}, 2)
    board.save()
    for path in tmp_path.glob("*tfevents*"):
        path.unlink()
    show(tmp_path, 2, range(2, 4))
    for cut in (1, 7, 11, 13, 20, 40, start - 200):
        path.write_bytes(written[: len(written) - cut])
        assert [step for step, _ in curves(tmp_path)["loss"]][-2:] == [2, 3], cut
        assert as_shown(tmp_path)["loss"][-2:] == [2, 3]


def test_a_full_disk_loses_nothing_but_time(small_disk: Path, whole: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    loggers, rubbish = run_loggers(small_disk, "fit", None), None
    noise = np.random.default_rng(0).integers(0, 256, (3, 64, 64), dtype=np.uint8)  # more than a page
    for number, (metrics, step) in enumerate(LOGGED):
        if number == 1:
            rubbish = fill(small_disk)
        for logger in loggers:
            logger.log_metrics(metrics, step)
            logger.save()
        loggers[0].experiment.add_image("figure", noise, step)
        if number == 3:
            assert table(small_disk).count(b"\n") == 2
            assert curves(small_disk) == {"train/loss": [(0, pytest.approx(0.3))]}
            assert rubbish
            rubbish.unlink()
    loggers[0].save()
    assert table(small_disk) == whole
    assert curves(small_disk)["val/loss"] == [(1, 1.5), (3, 0.25)]
    assert as_shown(small_disk)["figure"] == [0, 1, 2, 3, 3]
    assert {path.suffix for path in small_disk.glob("*.*")} == {".csv", next(small_disk.glob("*tfev*")).suffix}
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith(f"warning: can't write {small_disk}/")
    assert told.endswith(": No space left on device; the training goes on")


def test_a_row_that_half_fits_is_cut_off_again(small_disk: Path) -> None:
    _, rows = run_loggers(small_disk, "fit", None)
    rows.log_metrics({"loss": 1.0}, 0)
    rows.save()
    rubbish = fill(small_disk)
    room = 4096 - len(table(small_disk))  # in the page that the file has
    for step in range(1, 600):
        rows.log_metrics({"loss": 1 / step}, step)
    rows.save()
    assert room < len(rows.file.waiting)
    assert table(small_disk).count(b"\n") == 2
    rubbish.unlink()
    rows.save()
    assert table(small_disk).count(b"\n") == 601


def test_a_purge_waits_for_the_disk_too(small_disk: Path) -> None:
    show(small_disk, None, range(6))
    rubbish = fill(small_disk)
    board, _ = run_loggers(small_disk, "fit", 3)
    for step in range(3, 6):
        board.log_metrics({"loss": -1.0}, step)
        board.save()
    rubbish.unlink()
    board.save()
    assert [value for _, value in curves(small_disk)["loss"]] == [0, 0.25, 0.5, -1, -1, -1]


@pytest.mark.slow
@pytest.mark.figures
def test_figures_on_a_full_disk_are_left_out(kindling: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, *_: Any, **__: Any) -> None:
        path.write_bytes(b"half an ima")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("matplotlib.image.imsave", full)
    finished = kindling("fit", *MLP)
    assert finished.code == 0
    assert finished.err.count("\n") == 1
    assert not list(Path(RUN, "figures").iterdir())


@pytest.mark.slow
@pytest.mark.figures
def test_the_figures_of_the_best_checkpoint_do_not_depend_on_kills(kindling: Callable[..., Result]) -> None:
    kindling("fit", *MLP)
    before = {path: path.read_bytes() for path in RUN.glob("figures/*")}
    steps = {tag: [image.step for image in events(RUN).Images(tag)] for tag in events(RUN).Tags()["images"]}
    (RUN / "results.json").unlink()
    for path in before:
        path.unlink()  # as if it had been killed before they were drawn
    assert kindling("fit", "--resume", RUN).code == 0
    assert {path: path.read_bytes() for path in RUN.glob("figures/*")} == before
    assert {tag: [image.step for image in events(RUN).Images(tag)] for tag in steps} == steps
