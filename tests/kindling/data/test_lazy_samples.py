"""Data sets that `load` gives, and changes of single samples: as arrays would be, and the same on a resume."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import QUICK, Result
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, Dataset, IterableDataset, Subset, default_collate

from kindling.core.errors import UsageError
from kindling.data.base import Data
from kindling.run.checkpoint_files import load_checkpoint
from kindling.train.trainer import Trainer
from my_project.models.mlp import MLP

Run = Callable[..., Result]
N = 60
INPUTS = torch.randn(N, 5, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(N) % 3


class Rows(Dataset):
    """Samples (5,) float32 and their class; keeps which were read."""

    def __init__(self, rows: range = range(N)) -> None:
        self.rows, self.read = rows, list[int]()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        self.read.append(self.rows[index])
        return INPUTS[self.rows[index]], int(LABELS[self.rows[index]])


class Known(Rows):
    """As torchvision's: with all targets, and the names of the classes."""

    classes = ["a", "b", "c"]

    @property
    def targets(self) -> list[int]:
        return LABELS[list(self.rows)].tolist()


class Lazy(Data):
    def __init__(self, loaded: Any = None, **data: Any) -> None:
        super().__init__(**{"batch_size": 8, **data})
        self.loaded = loaded

    def load(self) -> Any:
        return self.loaded


class Whole(Data):
    classes = ["a", "b", "c"]

    def load(self) -> tuple[Tensor, Tensor]:
        return INPUTS, LABELS


class Noise(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + torch.randn(inputs.shape) + np.random.rand()


def batches(data: Data, split: str, epochs: int = 1) -> list[tuple[Tensor, ...]]:
    data.setup("fit")
    loader, found = data.loader(split), []
    for epoch in range(epochs):
        loader.sampler.set_epoch(epoch)  # type: ignore[union-attr]
        found += list(loader)
    return found


def assert_same(one: list[tuple[Tensor, ...]], other: list[tuple[Tensor, ...]], atol: float = 0) -> None:
    assert len(one) == len(other) > 0
    for first, second in zip(one, other, strict=True):
        for left, right in zip(first, second, strict=True):
            torch.testing.assert_close(left, right, rtol=0, atol=atol)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_data_set_gives_what_arrays_give(workers: int) -> None:
    lazy, whole = Lazy(Known(), workers=workers), Whole(batch_size=8)
    assert lazy.input_shape == (5,)
    assert lazy.classes == whole.classes
    assert lazy.class_counts == whole.class_counts
    assert lazy.preprocessing.plain["mean"] == pytest.approx(whole.preprocessing.plain["mean"], abs=1e-6)
    for split in ("train", "val", "test"):
        assert_same(batches(lazy, split, 2), batches(whole, split, 2), atol=1e-6)


def test_known_targets_are_not_read() -> None:
    known, unknown = Known(), Rows()
    for rows in (known, unknown):
        data = Lazy(rows, normalize=False)
        data.classes = ["a", "b", "c"]
        assert torch.equal(data.samples[1], LABELS)
    assert known.read == [0]  # what a sample is
    assert unknown.read == [0, *range(N)]


@pytest.mark.parametrize("kind", [Known, Rows])
def test_own_splits(kind: Any) -> None:
    data = Lazy({"train": kind(range(40)), "test": kind(range(50, 60)), "val": kind(range(40, 50))}, normalize=False)
    data.classes = ["a", "b", "c"]
    found = {split: data.samples[1][index].tolist() for split, index in data.splits.items()}
    assert found["val"] == LABELS[40:50].tolist()
    assert found["test"] == LABELS[50:].tolist()
    assert torch.equal(torch.cat([inputs for inputs, _ in batches(data, "test")]), INPUTS[50:])
    drawn = Lazy({"train": kind(range(40)), "test": kind(range(40, 60))}, val_fraction=0.25)
    drawn.classes = ["a", "b", "c"]
    assert {split: len(index) for split, index in drawn.splits.items()} == {"train": 30, "val": 10, "test": 20}


def test_parts_of_data_sets() -> None:
    joined = Lazy(ConcatDataset([Known(range(30)), Known(range(30, 60))]))
    assert torch.equal(joined.samples[1], LABELS)
    assert joined.classes == ["a", "b", "c"]
    part = Lazy(Subset(Known(), range(10, 40)))  # which hides the targets
    part.classes = ["a", "b", "c"]
    assert torch.equal(part.samples[1], LABELS[10:40])


class Numbers(Rows):
    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return INPUTS[index].double().numpy(), float(index)


def test_numbers_are_float32() -> None:
    data = Lazy(Numbers())
    data.targets = ["y"]
    inputs, targets = data.samples
    assert (inputs.dtype, targets.dtype, targets.shape) == (torch.float32, torch.float32, (N, 1))
    (batch, *_) = batches(data, "test")
    assert batch[0].dtype == torch.float32


class Masks(Rows):
    def __getitem__(self, index: int) -> tuple[Any, Any]:
        self.read.append(index)
        image = torch.full((3, 16, 16), index, dtype=torch.uint8)
        return image, image[0].long() % 2


class Turned(Known):
    """Whose samples have other targets than it keeps, as torchvision's with a target_transform have."""

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        inputs, label = super().__getitem__(index)
        return inputs, self.target_transform(label)

    def target_transform(self, label: int) -> int:
        return 2 - label


@pytest.mark.parametrize("hidden", [False, True])
def test_targets_are_those_of_the_samples(hidden: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if hidden:  # as by a wrapper
        monkeypatch.setattr(Turned, "__getitem__", lambda self, index: (INPUTS[index], 2 - int(LABELS[index])))
        monkeypatch.delattr(Turned, "target_transform")
    assert torch.equal(Lazy(Turned()).samples[1], 2 - LABELS)


def test_of_large_targets_some_are_looked_at_before_a_training() -> None:
    masks = Masks()
    data = Lazy(masks, normalize=False, statistics_samples=5)
    data.classes = ["even", "odd"]
    assert data.train_targets.shape == (5, 16, 16)
    assert len(masks.read) == 1 + 5


def test_large_targets_are_read_when_a_batch_asks_for_them() -> None:
    masks = Masks()
    data = Lazy(masks, normalize=False)
    data.classes = ["even", "odd"]
    assert data.samples[1].shape == (N, 16, 16)
    assert sum(map(len, data.splits.values())) == N
    assert data.class_counts == {}
    assert masks.read == [0]
    for inputs, targets in batches(data, "train"):
        assert torch.equal((inputs[:, 0] * 255).round().long() % 2, targets)


class Dicts(Rows):
    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return {"row": INPUTS[index], "words": ["x"] * (1 + index % 3)}, int(LABELS[index])


class Bags(Lazy):
    classes = ["a", "b", "c"]

    def collate(self, samples: list[Any]) -> Any:
        rows = [sample[0]["row"] for sample in samples]
        counts = [len(sample[0]["words"]) for sample in samples]
        return {"row": torch.stack(rows), "count": torch.tensor(counts)}, default_collate([s[1] for s in samples])


def test_a_batch_can_be_any_nesting() -> None:
    data = Bags(Dicts())
    assert not data.has_arrays
    for inputs, targets in batches(data, "val"):
        assert inputs["row"].shape == (len(targets), 5)
        rows = [int((row == INPUTS).all(dim=1).nonzero()) for row in inputs["row"]]
        assert inputs["count"].tolist() == [1 + row % 3 for row in rows]
        assert targets.tolist() == LABELS[rows].tolist()


BAGS = """
import torch
from kindling import Data
class Set(torch.utils.data.Dataset):
    classes = ["a", "b"]
    def __len__(self): return 80
    def __getitem__(self, index): return {"row": torch.zeros(3)}, index % 2
class Mine(Data):
    def load(self): return Set()
"""


def test_to_look_at_what_is_no_array_is_refused(kindling: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("bags.py").write_text(BAGS, encoding="utf-8")
    monkeypatch.syspath_prepend(str(Path.cwd()))
    told = kindling("data", "--data", "bags.Mine")
    assert (told.code, told.err) == (
        2,
        "kindling: kindling data looks only at inputs that are arrays, not those of Mine\n",
    )


@pytest.mark.parametrize("loaded", [None, "rows"])
def test_changes_depend_on_seed_epoch_and_sample_alone(loaded: str | None) -> None:
    def data(workers: int, batch_size: int = 8) -> Data:
        arguments: dict[str, Any] = {"transforms": [Noise()], "workers": workers, "batch_size": batch_size}
        return Lazy(Known(), **arguments) if loaded else Whole(**arguments)

    expected = batches(data(0), "train", 2)
    assert_same(batches(data(2), "train", 2), expected)
    assert not torch.equal(expected[0][0], batches(Whole(batch_size=8), "train")[0][0])
    half = batches(data(0, batch_size=4), "train")
    assert_same([(half[0][0], half[0][1])], [(expected[0][0][:4], expected[0][1][:4])])
    first, second = expected[: len(expected) // 2], expected[len(expected) // 2 :]
    assert not torch.equal(
        torch.cat([x for x, _ in first]).sort(0).values, torch.cat([x for x, _ in second]).sort(0).values
    )
    plain = Lazy(Known(), batch_size=8) if loaded else Whole(batch_size=8)
    assert_same(batches(data(0), "val"), batches(plain, "val"))  # training alone is changed


class Pairs(Lazy):
    classes = ["even", "odd"]

    def change(self, sample: Any) -> Any:
        image, mask = sample
        return (image.flip(-1), mask.flip(-1)) if torch.rand(()) < 0.5 else (image, mask)


class Slopes(Masks):
    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image = torch.arange(16, dtype=torch.uint8).expand(1, 16, 16).contiguous()
        return image, image[0].long() % 2


def test_image_and_mask_change_alike() -> None:
    seen = set()
    for inputs, targets in batches(Pairs(Slopes(), normalize=False), "train"):
        assert torch.equal((inputs[:, 0] * 255).round().long() % 2, targets)
        seen |= set(targets[:, 0, 0].tolist())
    assert seen == {0, 1}


class Three(Data):
    def load(self) -> Any:
        return Known()


def fit(path: Path, epochs: int, resume: str | None = None) -> dict[str, Any]:
    torch.manual_seed(1)
    data = Three(batch_size=8, transforms=[Noise()], workers=1)
    model = MLP(input_shape=data.input_shape, classes=data.classes, hidden_sizes=[4], schedule=None)  # type: ignore[arg-type]
    trainer = Trainer(max_epochs=epochs, default_root_dir=path, accelerator="cpu", enable_progress_bar=False)
    trainer.fit(model, data, ckpt_path=resume)
    trainer.save_checkpoint(path / "last.ckpt", weights_only=False)
    return load_checkpoint(path / "last.ckpt")


def test_a_resumed_training_is_the_same(tmp_path: Path) -> None:
    whole = fit(tmp_path / "whole", 3)
    fit(tmp_path / "cut", 1)
    resumed = fit(tmp_path / "cut", 3, str(tmp_path / "cut" / "last.ckpt"))
    for name, weight in whole["state_dict"].items():
        assert torch.equal(resumed["state_dict"][name], weight), name


class Endless(IterableDataset):
    def __iter__(self) -> Any:
        yield from ()


class Other(Rows):
    def __init__(self, sample: Any) -> None:
        super().__init__()
        self.sample = sample

    def __getitem__(self, index: int) -> Any:
        return self.sample[index % len(self.sample)] if isinstance(self.sample, list) else self.sample


ZEROS = torch.zeros(3)
BAD = {
    "a stream": (Endless(), "load() gives Endless, which has no length"),
    "no pair": (Other(ZEROS), "sample 0 of Other is Tensor: expected (input, target)"),
    "a picture": (Other((Image.new("L", (2, 2)), 0)), "PILToTensor"),
    "a word": (Other((ZEROS, "cat")), "the target of sample 0 of Other is str: expected the number of a class"),
    "a split": ({"train": Known(), "dev": Known()}, "load() gives a data set for dev: expected train, val and test"),
    "no training": ({"test": Known()}, "load() gives data sets for test: one for train is missing"),
    "shapes": (Other([(ZEROS, 0), (torch.zeros(4), 1)]), "part 0 of the samples has different shapes, such as (3,) and (4,)"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_such_data_set(case: str) -> None:
    loaded, message = BAD[case]
    data = Lazy(loaded)
    data.classes = ["a", "b"]
    with pytest.raises((ValueError, UsageError)) as raised:
        _ = data.preprocessing
    assert message in str(raised.value)


OWN = """
from typing import Any
import torch
from kindling import Data

class Set(torch.utils.data.Dataset):
    classes = ["dark", "light"]
    def __len__(self):
        return 80
    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        return torch.randint(128, (3, 8, 8), generator=generator).to(torch.uint8) + 100 * (index % 2), index % 2

class Mine(Data):
    def load(self) -> Any:
        return Set()
"""


def test_a_data_set_of_ones_own_by_the_commands(kindling: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("own_samples.py").write_text(OWN, encoding="utf-8")
    monkeypatch.syspath_prepend(str(Path.cwd()))
    flags = ["--model", "CNN", "--model.channels", "[4]", "--data", "own_samples.Mine", "--data.batch_size", 8]
    turn = ["--data.transforms", "[{class_path: torchvision.transforms.v2.RandomRotation, init_args: {degrees: 10}}]"]
    finished = kindling("fit", *flags, *turn, *QUICK, "--name", "mine")
    assert finished.code == 0, finished.err
    assert "2 classes; 52 train, 12 val, 16 test" in finished.out
    run = "lightning_logs/mine/version_0"
    resumed = kindling("fit", "--resume", run, "--data", "own_samples.Mine", "--trainer.max_epochs", 3)
    assert resumed.code == 0, resumed.err
    assert kindling("test", "--run", run, "--data", "own_samples.Mine").code == 0
    predicted = kindling("predict", "--run", run, "--data", "own_samples.Mine", "--output", "predictions.csv")
    assert predicted.code == 0, predicted.err
    assert len(Path("predictions.csv").read_text(encoding="utf-8").splitlines()) == 17
    looked_at = kindling("data", *flags, *turn)
    assert looked_at.code == 0, looked_at.err
    assert "images 3×8×8, 80 samples" in looked_at.out


OF_MASKS = """
import torch
from kindling import Data
class Set(torch.utils.data.Dataset):
    classes = ["out", "in"]
    def __len__(self): return 60
    def __getitem__(self, index):
        mask = torch.zeros(16, 16, dtype=torch.long)
        mask[index % 8 : 8 + index % 8] = 1
        return mask[None].float(), mask
class Mine(Data):
    def load(self): return Set()
"""


@pytest.mark.slow
def test_masks_of_a_data_set_by_the_commands(kindling: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("of_masks.py").write_text(OF_MASKS, encoding="utf-8")
    monkeypatch.syspath_prepend(str(Path.cwd()))
    data = ["--data", "of_masks.Mine"]
    finished = kindling(
        "fit", "--model", "UNet", "--model.width", 4, "--model.depth", 1, *data, *QUICK, "--name", "masks"
    )
    assert finished.code == 0, finished.err
    assert kindling("test", "--run", "lightning_logs/masks/version_0", *data).code == 0
    looked_at = kindling("data", *data)
    assert looked_at.code == 0, looked_at.err
    predicted = kindling("predict", "--run", "lightning_logs/masks/version_0", *data, "--output", "found.csv")
    assert predicted.code == 0, predicted.err
    assert (
        len(list(Path("found_masks").iterdir()))
        == len(Path("found.csv").read_text(encoding="utf-8").splitlines()) - 1
        == 12
    )
