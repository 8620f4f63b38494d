"""Writes small real data as files, to try `ImageFolder`, `Table` and `Arrays` on: `python scripts/sample_data.py`.

All of it ships with scikit-learn. It goes to the folder `data/samples`, or to the one given as argument:

  digits/        1,797 PNGs of handwritten digits, one folder per class
  digits.npz     the same images as arrays
  rows.npz       the same images as sequences: eight steps, one row of pixels each
  patients.csv   442 patients of the diabetes study: numbers, two columns of categories, and missing values
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.datasets import load_diabetes, load_digits


def write_digits(folder: Path, count: int) -> None:
    images, labels = load_digits(return_X_y=True)
    images = (images[:count].reshape(-1, 8, 8) * 255 / 16).round().astype(np.uint8)  # grey values 0…16
    for index, (image, label) in enumerate(zip(images, labels, strict=False)):
        path = folder / "digits" / str(label) / f"{index:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    np.savez_compressed(folder / "digits.npz", x_train=images, y_train=labels[:count])
    np.savez_compressed(folder / "rows.npz", x_train=images.astype(np.float32) / 255, y_train=labels[:count])


def write_patients(folder: Path, count: int) -> None:
    table = load_diabetes(as_frame=True, scaled=False).frame.head(count)
    table = table.rename(columns={"target": "progression"})
    table["sex"] = table["sex"].map({1: "female", 2: "male"})
    table["age"] = pd.cut(table["age"], [0, 35, 50, 65, 100], labels=["to 35", "36 to 50", "51 to 65", "over 65"])
    blank = np.random.default_rng(0).random(table.shape) < 0.03
    blank[:, -1] = False  # no target is missing
    table.astype(object).mask(blank).to_csv(folder / "patients.csv", index=False)


def write(folder: Path, count: int = 2000) -> None:
    """Write the first `count` samples of each."""
    folder.mkdir(parents=True, exist_ok=True)
    write_digits(folder, count)
    write_patients(folder, count)


if __name__ == "__main__":
    if len(sys.argv) > 2 or sys.argv[-1].startswith("-"):
        print(__doc__, end="")
        sys.exit(0 if sys.argv[1:] in (["-h"], ["--help"]) else 2)
    folder = Path(sys.argv[1] if len(sys.argv) == 2 else "data/samples")
    write(folder)
    print(f"in {folder}: digits, digits.npz, rows.npz, patients.csv")
