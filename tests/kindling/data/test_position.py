import random
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from kindling import Trainer
from kindling.data.position import (
    Position,
    Seeded,
    forget_normal_number,
    generator_states,
    seed_of,
    set_generator_states,
)


class Net(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(2, 1)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.net(batch).mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Watch(L.Callback):
    def __init__(self) -> None:
        self.places: dict[str, list[tuple[int, int]]] = {}

    def note(self, hook: str, trainer: L.Trainer) -> None:
        position = Position(trainer)
        self.places.setdefault(hook, []).append((position.epoch, position.batch))

    def on_train_start(self, trainer: L.Trainer, *_: Any) -> None:
        self.note("start", trainer)

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        self.note("batch start", trainer)

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        self.note("batch end", trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, *_: Any) -> None:
        self.note("epoch end", trainer)


@pytest.mark.parametrize("lean", [True, False])
def test_the_position_is_that_of_the_next_batch(lean: bool, tmp_path: Path) -> None:
    watch = Watch()
    trainer = Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path, callbacks=[watch], profiler=None if lean else "simple",
    )  # fmt: skip
    trainer.fit(Net(), DataLoader(torch.randn(6, 2), batch_size=2))
    assert watch.places == {
        "start": [(0, 0)],
        "batch start": [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)],
        "batch end": [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3)],
        "epoch end": [(1, 0), (2, 0)],
    }
    assert Position(trainer).place == (0, 2, 0, 0)


def draw() -> tuple[float, ...]:
    normal = np.random.randn()
    return random.random(), float(np.random.rand()), normal, float(torch.rand(())), random.gauss(0, 1)


def test_random_numbers_of_a_seed_leave_the_others_alone() -> None:
    states = generator_states()
    expected = [draw(), draw()]
    set_generator_states(states)
    np.random.randn()  # which leaves a second number in store
    set_generator_states(states)
    first = draw()
    with Seeded(7):
        inside = draw()
        with Seeded(8):
            draw()
    with Seeded(7):
        assert draw() == inside
    forget_normal_number()
    set_generator_states(states)
    forget_normal_number()
    assert draw() == first == expected[0]
    with Seeded(9):
        assert draw() != inside


def test_a_seed_inside_is_over_after_an_error() -> None:
    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), Seeded(7):
        torch.rand(3) / (1 // 0)
    assert torch.equal(torch.get_rng_state(), before)
    with Seeded(7):
        expected = np.random.rand()
    np.random.seed(1)
    first = np.random.rand()
    np.random.seed(1)
    with Seeded(7):
        assert np.random.rand() == expected
    assert np.random.rand() != expected
    np.random.seed(1)
    assert np.random.rand() == first


def test_seeds_differ_from_place_to_place() -> None:
    places = [
        (purpose, seed, epoch, batch)
        for purpose in "ab"
        for seed in range(3)
        for epoch in range(9)
        for batch in range(99)
    ]
    assert len({seed_of(*place) for place in places}) == len(places)
    assert seed_of("train", 0, 1) == 4753056631453446150


def test_generators_go_on_from_their_states() -> None:
    np.random.randn()
    random.gauss(0, 1)  # each leaves a second number in store
    states = generator_states()
    expected = draw()
    draw()
    set_generator_states(states)
    assert draw() == expected


def test_the_generator_of_apples_gpu_is_kept_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert generator_states()["torch.mps"] is None or torch.backends.mps.is_available()
    state, restored = torch.tensor([1, 2, 3], dtype=torch.uint8), list[torch.Tensor]()
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda: state)
    monkeypatch.setattr(torch.mps, "set_rng_state", restored.append)
    kept = generator_states()
    set_generator_states(kept)
    assert [each.tolist() for each in restored] == [[1, 2, 3]]
    set_generator_states({name: value for name, value in kept.items() if name != "torch.mps"})  # of an older run
    assert len(restored) == 1
