"""Plain modules of Lightning, whose outputs nobody declares."""

from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


class Rows(L.LightningDataModule):
    """Batches (16, 3) of one tensor; its test set is there once it is set up for the test."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = torch.arange(120.0).reshape(40, 3) / 100

    def loader(self, rows: Tensor) -> Any:
        return DataLoader(TensorDataset(rows), batch_size=16)

    def train_dataloader(self) -> Any:
        return self.loader(self.rows)

    def test_dataloader(self) -> Any:
        assert self.ready
        return self.loader(self.rows[10:])

    def setup(self, stage: str) -> None:
        self.ready = stage == "test"


class RowsToPredict(Rows):
    """Has others for predictions."""

    def predict_dataloader(self) -> Any:
        return self.loader(self.rows[:20])


class Plain(L.LightningModule):
    """A module that is no Model and doesn't say what it predicts."""

    def __init__(self, width: int = 2) -> None:
        super().__init__()
        self.layer = nn.Linear(3, width)

    def forward(self, rows: Tensor) -> Tensor:
        return self.layer(rows)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.layer(batch[0]).square().mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


RETURNS: dict[str, Any] = {
    "tensor": lambda outputs: outputs,
    "columns": lambda outputs: {
        "sum": outputs.sum(dim=1),
        "word": ["high" if row[0] > 0 else "low" for row in outputs],
    },
    "ragged": lambda outputs: [{"boxes": row[:1]} for row in outputs],
    "nothing": lambda outputs: None,
    "objects": lambda outputs: {"model": object()},
}


class Predicting(Plain):
    """Returns of its predictions what it is asked to."""

    def __init__(self, returns: str = "tensor", width: int = 2) -> None:
        super().__init__(width)
        self.save_hyperparameters()
        self.returns = returns
        self.example_input_array = torch.zeros(1, 3)

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        return RETURNS[self.returns](self(batch[0]))


class Alone(Predicting):
    """Has loaders of its own."""

    def train_dataloader(self) -> Any:
        return Rows().train_dataloader()

    def test_dataloader(self) -> Any:
        return DataLoader(TensorDataset(torch.ones(6, 3)), batch_size=4)


class Several(Alone):
    """Has two loaders for predictions."""

    def predict_dataloader(self) -> Any:
        return [self.train_dataloader(), self.test_dataloader()]

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        return super().predict_step(batch, batch_idx)


class Unloaded(Predicting):
    """Has a loader for the training alone."""

    def train_dataloader(self) -> Any:
        return Rows().train_dataloader()


class Outputs(Plain):
    """Takes and gives several tensors by name."""

    def __init__(self) -> None:
        super().__init__()
        self.example_input_array = {"rows": torch.ones(2, 3), "scale": torch.full((2, 1), 3.0)}

    def forward(self, rows: Tensor, scale: Tensor | float = 1.0) -> Any:
        outputs = self.layer(rows) * scale
        return {"all": outputs, "parts": [outputs[:, :1], outputs.sum(dim=1)]}


class Bound(Plain):
    """Is bound to the number of samples of its example."""

    def __init__(self) -> None:
        super().__init__()
        self.example_input_array = torch.ones(4, 3)

    def forward(self, rows: Tensor) -> Tensor:
        return self.layer(rows).reshape(8) + torch.arange(8)
