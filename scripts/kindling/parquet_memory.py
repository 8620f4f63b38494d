"""Measures the memory that a folder of Parquet files takes: `python scripts/kindling/parquet_memory.py --gigabytes 20`.

It writes one file of 51 MB (250,000 rows of 50 numbers, in row groups of 50,000) to a temporary folder, and enough hard
links to it to make that size. Then it trains some steps on all of it, and on four files, each in its own process, and
prints the peak memory of each. Needs Linux.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROWS, COLUMNS, GROUP = 250_000, 50, 50_000
LIMITS = ("--trainer.limit_val_batches", "50", "--trainer.limit_test_batches", "50", "--trainer.max_epochs", "1")
FIT = ("fit", "--model", "MLP", "--data", "ParquetFolder", "--data.target", "y", "--data.batch_size", "1024", *LIMITS)


def write(folder: Path, files: int) -> float:
    """Write one file, and links to it; returns their total size in gigabytes."""
    folder.mkdir()
    first = folder / "0.parquet"
    numbers = np.random.default_rng(0).normal(size=(ROWS, COLUMNS)).astype("float32")
    columns = {f"x{place}": numbers[:, place] for place in range(COLUMNS)} | {"y": 2 * numbers[:, 0] + numbers[:, 1]}
    pq.write_table(pa.table(columns), first, row_group_size=GROUP, use_dictionary=False, compression="none")
    for number in range(1, files):
        os.link(first, folder / f"{number}.parquet")
    return first.stat().st_size * files / 1e9


def peak_of_training(folder: Path, steps: int) -> float:
    """The peak memory, in megabytes, of a training of some steps."""
    arguments = [*FIT, "--data.path", str(folder), "--trainer.limit_train_batches", str(steps)]
    code = "import sys; from kindling import main; sys.exit(main(sys.argv[1:]))"
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], cwd=folder.parent)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"the training on {folder} failed")
    return megabytes(usage)


def megabytes(usage: resource.struct_rusage) -> float:
    return usage.ru_maxrss / 1024  # Linux counts in KB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=20.0)
    parser.add_argument("--steps", type=int, default=3000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        few = write(Path(folder, "few"), 4)
        all_of_them = write(Path(folder, "all"), max(4, round(arguments.gigabytes / few * 4)))
        peaks = [
            (size, peak_of_training(Path(folder, name), steps))
            for name, size, steps in (("few", few, 400), ("all", all_of_them, arguments.steps))
        ]
    for size, peak in peaks:
        print(f"{size:.1f} GB of Parquet: at most {peak:,.0f} MB of memory")


if __name__ == "__main__":
    main()
