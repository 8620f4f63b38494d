"""Breaks trainings on purpose and checks that nothing is lost: `python scripts/kindling/fault_injection.py`.

  kills       SIGKILL at random moments to a training and all its processes, then `--resume`, until the end
  saves       the same while something is being saved, with saves slowed down
  disk        a full disk (files can't grow beyond a size), for a while or until the end
  ranks       SIGKILL to one of two processes, to a node with one of them, or to everything, under three launchers
  corruption  a checkpoint with flipped bits, cut, zeroed, overwritten or longer: it loads unchanged or is refused

`python scripts/kindling/fault_injection.py kills --only ddp ema --count 10 --seed 1` runs a part. All that a training
leaves is compared with one that nobody disturbed: every value in `last.ckpt`, the weights in `best.ckpt`, every byte of
`metrics.csv`, `results.json`, the curves of `report.html`, and at each step the bytes of the batch and of the weights.
Times may differ.

All but `ranks` take 6.6 minutes on 2 cores: 30 kills in 10 configurations, 15 kills during saves, 6 full disks and 206
damaged checkpoints, after all of which everything was identical. `ranks` takes another 12 for its 20 kills.
"""

import argparse
import hashlib
import json
import multiprocessing.util
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib.figure  # noqa: F401 (imported once here, for the trainings, which are forks of this process)
import seaborn  # noqa: F401
import sklearn.metrics  # noqa: F401
import torch
import torch.utils.tensorboard

from kindling.cli import fit as commands  # noqa: F401
from kindling.cli import main as kindling
from kindling.core.errors import UsageError
from kindling.run.checkpoint_files import load_checkpoint
from kindling.run.record import Record

SCRIPT = Path(__file__).resolve()
sys.path.append(str(SCRIPT.parents[2] / "tests"))  # for launches
SHOWN = 40  # differences that are printed
PATIENCE = 300  # seconds after which a training is taken to be hanging
SLOW = 0.01  # seconds that a slowed save waits before and after each of its steps
DAMAGES = ("flip", "cut", "zeros", "noise", "rubbish")
# Times, and counters of Lightning that nothing depends on.
MAY_DIFFER = re.compile(
    r"\.(seconds|samples_per_second|scheduler_progress\.\w+\.\w+|val_loop\.batch_progress\.total\.\w+|current_score)$"
)

COMMON = "--trainer.accelerator cpu --checkpoint.every_steps 3"
PLAIN = "--figures.enabled false"  # figures take a second at each start
IN_RANKS = f"digits_mlp --model.dropout 0.3 --data.batch_size 32 --trainer.max_epochs 8 --trainer.strategy ddp {PLAIN}"
CONFIGURATIONS = {
    "dropout": "digits_mlp --model.dropout 0.3 --trainer.check_val_every_n_epoch 2 --trainer.max_epochs 12",
    "mixup": "digits_resnet --model.width 8 --model.depths [1,1] --trainer.max_epochs 5"
    " --data.augment ImageAugmentation --data.augment.crop 1 --data.augment.mixup 0.4",
    "ema": "digits_cnn --weight_averaging.enabled true --trainer.accumulate_grad_batches 4 --data.batch_size 32"
    f" --trainer.max_epochs 5 {PLAIN}",
    "early_stopping": "digits_mlp --model.hidden_sizes [32] --early_stopping.patience 1 --trainer.max_epochs 100"
    f" --model.optimizer.lr 0.02 {PLAIN}",
    "plateau": "breast_cancer --model.schedule ReduceLROnPlateau --model.schedule.patience 0 --data.workers 2"
    f" --trainer.max_epochs 15 {PLAIN}",
    "one_cycle": "memory_gru --data.size 1500 --model.schedule OneCycleLR --model.schedule.max_lr 0.01"
    f" --model.dropout 0.2 --trainer.val_check_interval 7 --trainer.max_epochs 5 {PLAIN}",
    "fraction": "memory_lstm --data.size 1500 --trainer.val_check_interval 0.3 --early_stopping.patience null"
    f" --trainer.max_epochs -1 --trainer.max_steps 80 {PLAIN}",
    "bf16": "shapes_cnn --data.size 1000 --data.workers 2 --trainer.precision bf16-mixed --trainer.max_epochs 5"
    f" --data.augment.erase 0.3 {PLAIN}",
    "swa": "digits_vit --weight_averaging.enabled true --weight_averaging.decay null --weight_averaging.start 0.5"
    " --trainer.check_val_every_n_epoch null --trainer.val_check_interval 25 --trainer.max_epochs 3"
    f" --model.dropout 0.1 {PLAIN}",
    "ddp": f"{IN_RANKS} --trainer.devices 2",
}
WAYS = ("lightning", "torchrun", "torchrun, 2 nodes")  # of launches.WAYS
EVIDENCE = {"early_stopping": "stopped early"}  # what an undisturbed training has to print


@dataclass
class Row:
    """What a part finds with a configuration."""

    faults: int = 0
    resumes: int = 0
    differences: list[str] = field(default_factory=list)
    keep: Path | None = None  # where to copy what differs

    def compare(self, expected: dict[str, str], training: "Training", reference: "Training") -> None:
        """Note how a training that was broken off has ended otherwise, or that it could not write, and remove it."""
        new = differences(expected, training.contents())
        new += [line for line in training.said.splitlines() if "can't write" in line]
        if new and self.keep:
            for each in (training, reference):
                shutil.copytree(each.folder, self.keep / each.folder.name, dirs_exist_ok=True)
        self.differences += new
        shutil.rmtree(training.folder)


class Failure(Exception):
    """A training did not end as it should; the message has what it printed."""


class Training:
    """A training in a new folder of its own: it can be started, killed and resumed."""

    def __init__(self, folder: Path, configuration: str) -> None:
        folder.mkdir(parents=True)
        shutil.copytree(SCRIPT.parents[2] / "configs", folder / "configs")
        self.folder, self.log, self.trace, self.marks = folder, *(folder / name for name in ("log", "trace", "marks"))
        for path in (self.log, self.trace, self.marks):
            path.touch()
        config, *flags = f"{CONFIGURATIONS.get(configuration, IN_RANKS)} {COMMON}".split()
        self.argv = ["fit", "--config", f"configs/{config}.yaml", *flags]
        self.starts, self.seconds = 0, 0.0

    @property
    def checkpoints(self) -> dict[str, Path]:
        paths = sorted(self.folder.glob("lightning_logs/*/*/checkpoints/*.ckpt"))
        return {path.stem: path for path in paths if path.stem in ("best", "last", "previous")}

    @property
    def saving(self) -> bool:
        return self.marks.read_text().endswith("saving\n")

    @property
    def said(self) -> str:
        return "".join(path.read_text(errors="replace") for path in (self.log, *sorted(self.folder.glob("said-*.txt"))))

    @property
    def is_over(self) -> bool:
        """Whether the training ended so many seconds ago that its processes should have ended too."""
        ends = [path.stat().st_mtime for path in self.folder.glob("lightning_logs/*/*/results.json")]
        return any(time.time() - end > 10 for end in ends)

    def start(self, kill_after: float = PATIENCE, early: bool = False, code: int = 0, **faults: Any) -> bool:
        """Start, or resume what has begun; returns whether it was killed.

        That happens `kill_after` seconds after its first batch, or if `early`, after the beginning of a resume.
        """
        self.marks.write_text("")
        seen = self.trace.stat().st_size
        pid = fork(lambda: child(self.argv), self.folder, faults)
        clock = start = time.monotonic()
        waits = not (early and seen)
        while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
            now = time.monotonic()
            if waits:
                clock, waits = now, self.trace.stat().st_size == seen
            due = now - clock > kill_after and ("slow" not in faults or self.saving)
            if due or now - start > PATIENCE:
                time.sleep(random.uniform(0, 10 * faults.get("slow", 0)))  # about as long as a slowed save
                kill(pid)
            time.sleep(0.002)
        kill(pid)  # the processes that it may have left behind
        self.starts, self.seconds = self.starts + 1, time.monotonic() - clock
        if self.trace.stat().st_size:
            self.argv = ["fit", "--resume", str(next(self.folder.glob("lightning_logs/*/*")))]
        found, said = os.waitstatus_to_exitcode(ended[1]), self.log.read_text(errors="replace")
        killed = found == -signal.SIGKILL and kill_after < PATIENCE
        if "Traceback" in said or (not killed and found != code):
            raise Failure(f"exit code {found} of start {self.starts}:\n{said[-4000:]}")
        return killed

    def start_in_ranks(self, way: str, kill_after: float = PATIENCE, rng: random.Random | None = None) -> bool:
        """Start two processes, or resume what has begun; returns whether any was killed, which ends the others too."""
        import launches

        (self.folder / "pids").write_text("")
        seen, begun = self.trace.stat().st_size, time.monotonic()
        program = [str(SCRIPT), "child"]
        killed, processes = False, launches.start(way, self.argv, self.folder, program=program)
        try:
            clock = begun
            while any(process.poll() is None for process in processes):
                now = time.monotonic()
                if self.trace.stat().st_size == seen:
                    clock = now
                if not killed and rng and now - clock > kill_after:
                    killed = self._kill_some(processes, rng)
                if killed and self.is_over:
                    break  # torchrun waits five minutes at the end for an agent that was killed
                if now - begun > PATIENCE:
                    raise Failure(f"processes hang after another was killed:\n{self.said[-4000:]}")
                time.sleep(0.01)
        finally:
            launches.kill(processes)
        self.starts, self.seconds = self.starts + 1, time.monotonic() - clock
        codes = [process.returncode for process in processes]
        if not killed and any(codes):
            raise Failure(f"exit codes {codes} of start {self.starts}:\n{self.said[-4000:]}")
        if self.trace.stat().st_size:
            self.argv = ["fit", "--resume", str(next(self.folder.glob("lightning_logs/*/*")))]
        return killed

    def _kill_some(self, processes: list[Any], rng: random.Random) -> bool:
        """Kill a process that trains, a node with all that is on it, or everything."""
        import launches

        ranks = sorted({int(line) for line in (self.folder / "pids").read_text().split()})
        whom = rng.choice(("rank", "node", "all"))
        if whom == "rank" and ranks:
            kill(rng.choice(ranks))
        else:
            launches.kill([rng.choice(processes)] if whom == "node" else processes)
        return True

    def contents(self) -> dict[str, str]:
        """All that must not depend on what happened during the training, by name."""
        last, best = (load_checkpoint(self.checkpoints[name]) for name in ("last", "best"))
        run = self.checkpoints["last"].parents[1]
        results = json.loads((run / "results.json").read_text())
        found = leaves({"best.ckpt": best["state_dict"], "last.ckpt": last, "results.json": results})
        found = {name: each for name, each in found.items() if not MAY_DIFFER.search(name)}
        here = str(self.folder)
        found = {name.replace(here, "…"): each.replace(here, "…") for name, each in found.items()}
        rows = enumerate((run / "metrics.csv").read_bytes().splitlines(keepends=True), start=1)
        found |= {f"metrics.csv, line {number}": str(row) for number, row in rows}
        curves = re.findall("<svg.*?</svg>", (run / "report.html").read_text(encoding="utf-8"), re.DOTALL)
        found |= {f"report.html, curve {number}": curve for number, curve in enumerate(curves, start=1)}
        steps: dict[str, set[str]] = {}
        for line in sorted(self.trace.read_text().splitlines()):
            place, _, hashes = line.partition(": ")
            steps.setdefault(place, set()).add(hashes)
        found |= {place: " or ".join(sorted(hashes)) for place, hashes in steps.items()}
        return found | {str(path.relative_to(run)): "left behind" for path in run.rglob("part-*")}


def fork(function: Callable[[], int], folder: Path, faults: dict[str, Any]) -> int:
    """The id of a new process, with its own session and folder, that calls `function` and ends with its exit code."""
    if pid := os.fork():
        return pid
    code = 70
    try:
        os.setsid()
        # As multiprocessing's own forks do: the parent may have had loader workers.
        multiprocessing.util._run_after_forkers()  # type: ignore[attr-defined]
        os.chdir(folder)
        log = os.open("log", os.O_WRONLY | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.stdout = sys.stderr = os.fdopen(1, "w", buffering=1)
        os.environ["FAULTS"] = json.dumps(faults)
        code = function()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def kill(pid: int) -> None:
    """Kill a process and its session, which does not exist yet in its first instant."""
    for send in (os.killpg, os.kill):
        try:
            return send(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def child(argv: list[str]) -> int:
    """Train, with the faults that the environment names. DDP starts its other processes by this command line too."""
    sys.argv = [str(SCRIPT), "child", *argv]
    vars(sys.modules["__main__"])["__spec__"] = None  # or DDP would start that module, such as pytest
    torch.set_num_threads(1)
    faults = json.loads(os.environ.get("FAULTS", "{}"))
    trace, marks, pids = (os.open(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT) for name in ("trace", "marks", "pids"))
    before, seen = Record.on_train_batch_start, 0

    def on_train_batch_start(self: Any, trainer: Any, model: Any, batch: Any, batch_idx: int) -> None:
        nonlocal seen
        seen += 1
        if seen == 1:
            os.write(pids, f"{os.getpid()}\n".encode())
        if "full" in faults:
            fill_disk(self.run, marks, seen, *faults["full"])
        place = f"process {trainer.global_rank}, epoch {trainer.current_epoch:3}, batch {batch_idx:3}"
        hashes = f"batch {digest(batch)}, weights {digest(list(model.parameters()))}, step {trainer.global_step}"
        os.write(trace, f"{place}: {hashes}\n".encode())
        before(self, trainer, model, batch, batch_idx)

    def slowed(function: Any) -> Any:
        def slowly(*args: Any, **kwargs: Any) -> Any:
            os.write(marks, b"saving\n")
            time.sleep(faults["slow"])
            result = function(*args, **kwargs)
            time.sleep(faults["slow"])
            os.write(marks, b"saved\n")
            return result

        return slowly

    setattr(Record, "on_train_batch_start", on_train_batch_start)  # noqa: B010
    for module, name in ((os, "fsync"), (os, "replace"), (os, "rename"), (torch, "save")):
        if "slow" in faults:
            setattr(module, name, slowed(getattr(module, name)))
    return kindling(argv)


def fill_disk(run: Path, marks: int, seen: int, first: int, last: int, size: int) -> None:
    """Let no file grow beyond `size` bytes from the `first` batch to the `last`; note the checkpoints at both."""
    if seen in (first, last):
        limit = size if seen == first else resource.RLIM_INFINITY
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        there = {path.name: path.read_bytes() for path in sorted(run.glob("checkpoints/*"))}
        os.write(marks, f"{digest(there)}\n".encode())


def leaves(value: Any, name: str = "") -> dict[str, str]:
    """Nested values by name, a tensor as the hash of its bytes."""
    if isinstance(value, torch.Tensor):
        data = value.detach().contiguous().flatten().view(torch.uint8).numpy()
        return {name: f"{hashlib.sha1(data.tobytes()).hexdigest()[:12]} {value.dtype} {tuple(value.shape)}"}
    if not isinstance(value, dict | list | tuple):
        return {name: repr(value)}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    below = [leaves(each, f"{name}.{key}".lstrip(".")) for key, each in items]
    return {key: each for found in below for key, each in found.items()}


def digest(value: Any) -> str:
    return hashlib.sha1(repr(leaves(value)).encode()).hexdigest()[:12]


def differences(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    names = [name for name in expected | found if expected.get(name) != found.get(name)]
    return [f"{name} is {found.get(name, 'absent')} instead of {expected.get(name, 'absent')}" for name in names]


def undisturbed(folder: Path, configuration: str, **faults: Any) -> tuple[Training, dict[str, str]]:
    training = Training(folder / "undisturbed", configuration)
    training.start(**faults)
    if EVIDENCE.get(configuration, "") not in training.log.read_text():
        raise Failure(f"did not say {EVIDENCE[configuration]!r}:\n{training.log.read_text()[-4000:]}")
    return training, training.contents()


def kills(row: Row, folder: Path, configuration: str, count: int, rng: random.Random, **faults: Any) -> None:
    """Kill `count` times, each training up to three times; if saves are slow, only kills during a save count."""
    reference, expected = undisturbed(folder, configuration, **faults)
    while row.faults < count:
        training = Training(folder / f"training_{row.faults}_{row.resumes}", configuration)
        for _ in range(rng.randint(1, min(3, count - row.faults))):
            if not training.start(rng.uniform(0, reference.seconds), early=rng.random() < 0.3, **faults):
                break  # it ended before
            row.faults += not faults or training.saving
            for path in training.checkpoints.values():
                load_checkpoint(path)
        else:
            training.start()
        row.resumes += training.starts - 1
        row.compare(expected, training, reference)


def ranks(row: Row, folder: Path, way: str, count: int, rng: random.Random) -> None:
    """Kill ranks, nodes or everything, each training up to three times; all must end as under Lightning's launcher."""
    reference, expected = undisturbed(folder, "ddp")
    while row.faults < count:
        training = Training(folder / f"training_{row.faults}_{row.resumes}", way)
        for _ in range(rng.randint(1, min(3, count - row.faults))):
            if not training.start_in_ranks(way, rng.uniform(0, reference.seconds), rng):
                break  # it ended before
            row.faults += 1
            for path in training.checkpoints.values():
                load_checkpoint(path)
        else:
            training.start_in_ranks(way)
        row.resumes += training.starts - 1
        row.compare(expected, training, reference)


def saves(row: Row, folder: Path, configuration: str, count: int, rng: random.Random) -> None:
    kills(row, folder, configuration, count, rng, slow=SLOW)


def disk(row: Row, folder: Path, configuration: str, count: int, rng: random.Random) -> None:
    """Check for one message, unchanged checkpoints, and a training that goes on; every other training is resumed."""
    reference, expected = undisturbed(folder, configuration)
    size = reference.checkpoints["last"].stat().st_size // 2
    for index in range(count):
        training = Training(folder / f"training_{index}", configuration)
        first = rng.randint(10, 40)
        for_good = index % 2  # then no checkpoint holds the training's end: exit code 1
        training.start(full=(first, sys.maxsize if for_good else first + 20, size), code=for_good)
        said, marks = training.log.read_text(), training.marks.read_text().split()
        if for_good:
            training.start()
        row.faults, row.resumes = row.faults + 1, row.resumes + training.starts - 1
        row.differences += ["a checkpoint changed while the disk was full"] * (len(set(marks)) > 1)
        row.differences += [f"not one message:\n{said[-4000:]}"] * (said.count("last.ckpt") != 1)
        row.differences += differences(expected, training.contents())


def corruption(row: Row, folder: Path, configuration: str, count: int, rng: random.Random) -> None:
    """Load damaged checkpoints; then resume with a damaged last.ckpt, which must be named, or with nothing whole."""
    reference, expected = undisturbed(folder, configuration)
    pid = fork(lambda: load_damaged(reference.checkpoints["last"], count, rng), reference.folder, {})
    row.faults += count
    if os.waitpid(pid, 0)[1]:
        row.differences.append(reference.log.read_text()[-4000:])
    for index, damage in enumerate([*DAMAGES[: 1 + count // 50], "all"]):
        training = Training(folder / f"training_{index}", configuration)
        training.start(rng.uniform(0.3, 0.9) * reference.seconds)
        last, previous = training.checkpoints["last"], training.checkpoints["previous"]
        for path in (last, previous) if damage == "all" else (last,):
            path.write_bytes(damaged(path.read_bytes(), "cut" if damage == "all" else damage, rng))
        begin = len(training.log.read_text())
        training.start(code=2 if damage == "all" else 0)
        row.faults, row.resumes = row.faults + 1, row.resumes + 1
        if str(last.name) not in training.log.read_text()[begin:]:
            row.differences.append(f"after {damage}: no word about {last.name}")
        row.differences += differences(expected, training.contents()) if damage != "all" else []


def load_damaged(path: Path, count: int, rng: random.Random) -> int:
    """Load damaged copies of a checkpoint, and print what loads as something else; returns 1 if anything does."""
    content, expected, copy, code = path.read_bytes(), leaves(load_checkpoint(path)), Path("damaged.ckpt"), 0
    for index in range(count):
        copy.write_bytes(damaged(content, DAMAGES[index % len(DAMAGES)], rng))
        try:
            changes = differences(expected, leaves(load_checkpoint(copy)))
        except UsageError as refusal:
            changes = [] if str(copy) in str(refusal) else [str(refusal)]
        if changes:
            code = 1
            print(f"{DAMAGES[index % len(DAMAGES)]}: {changes[:3]}")
    return code


def damaged(content: bytes, damage: str, rng: random.Random) -> bytes:
    start = rng.randrange(len(content))
    stop = min(len(content), start + rng.randint(1, 4096))
    middle = {
        "flip": bytes([content[start] ^ 1 << rng.randrange(8)]) + content[start + 1 : stop],
        "cut": b"",
        "zeros": bytes(stop - start),
        "noise": rng.randbytes(stop - start),
        "rubbish": content[start:stop],
    }[damage]
    rest = {"cut": b"", "rubbish": content[stop:] + rng.randbytes(stop - start)}.get(damage, content[stop:])
    return content[:start] + middle + rest


PARTS: dict[str, tuple[Callable[..., None], int, tuple[str, ...]]] = {  # number of faults, and the configurations
    "kills": (kills, 30, tuple(CONFIGURATIONS)),
    "ranks": (ranks, 20, WAYS),
    "saves": (saves, 15, ("ema", "one_cycle", "ddp")),
    "disk": (disk, 6, ("dropout", "one_cycle", "ddp")),
    "corruption": (corruption, 200, ("dropout",)),
}


def inject(part: str, configuration: str, count: int, seed: int = 0, keep: Path | None = None) -> Row:
    """Run a part with a configuration, in a temporary folder; trainings that end otherwise are copied to `keep`."""
    row = Row(keep=keep and keep / f"{part}_{configuration}_{seed}".replace(" ", "_"))
    with tempfile.TemporaryDirectory() as folder:
        try:
            PARTS[part][0](row, Path(folder).resolve(), configuration, count, random.Random(f"{seed} {configuration}"))
        except (Failure, UsageError) as failure:
            row.differences.append(str(failure))
    return row


def main() -> int:
    names = (*CONFIGURATIONS, *WAYS)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all by default")
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--count", type=int, help="number of faults of a part, over all its configurations")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments and damages")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the kills' trainings that ended otherwise")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"unknown part {', '.join(unknown)}: expected {', '.join(PARTS)}")
    print(f"{'part':<10}  {'configuration':<17}  {'faults':>6}  {'resumes':>7}  {'seconds':>7}  identical", flush=True)
    code = 0
    for part in options.parts or PARTS:
        _, count, configurations = PARTS[part]
        configurations, count = options.only or configurations, options.count or count
        for index, name in enumerate(configurations):
            share, start = (count + index) // len(configurations), time.monotonic()
            if not share:
                continue
            row = inject(part, name, share, options.seed, options.keep)
            identical, seconds = "NO" if row.differences else "yes", time.monotonic() - start
            print(
                f"{part:<10}  {name:<17}  {row.faults:>6}  {row.resumes:>7}  {seconds:>7.0f}  {identical}", flush=True
            )
            for difference in row.differences[:SHOWN]:
                print(f"  {difference}", flush=True)
            if len(row.differences) > SHOWN:
                print(f"  and {len(row.differences) - SHOWN} more", flush=True)
            code |= bool(row.differences)
    return code


if __name__ == "__main__":
    sys.exit(child(sys.argv[2:]) if sys.argv[1:2] == ["child"] else main())
