"""What a command prints of its model and its results."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from kindling.cli.terminal import Summary, print_metrics


def test_results_are_a_table_unless_nothing_was_measured(capsys: pytest.CaptureFixture[str]) -> None:
    print_metrics("best epoch 1 of 1", {}, {})
    assert capsys.readouterr().out == "best epoch 1 of 1\n"
    print_metrics("test", {"test": {"loss": 0.25, "auroc": float("nan")}}, {"test/auroc": "undefined: one class"})
    title, *table, note = capsys.readouterr().out.splitlines()
    assert (title, note) == ("test", "note   test/auroc is undefined: one class")
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in table if line.startswith("│")]
    assert cells == [["loss", "0.2500"], ["auroc", "undefined"]]


class Compiled(L.LightningModule):
    """Compiles its network before the training, as foreign modules do, with a backend that counts its steps."""

    def __init__(self) -> None:
        super().__init__()
        self.network, self.example_input_array = nn.Linear(4, 1), torch.zeros(2, 4)
        self.steps = 0

    def setup(self, stage: str) -> None:
        self.compile(backend=self.count)

    def count(self, graph: torch.fx.GraphModule, _: list[Tensor]) -> Any:
        def run(*inputs: Tensor) -> Any:
            self.steps += 1
            return graph(*inputs)

        return run

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)

    def training_step(self, batch: list[Tensor]) -> Tensor:
        return self(batch[0]).sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_a_summary_leaves_a_network_to_be_compiled_by_its_training(tmp_path: Path) -> None:
    """With torch 2.11, a plain ModelSummary keeps it from being compiled at all."""
    model = Compiled()
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = L.Trainer(accelerator="cpu", max_epochs=1, default_root_dir=tmp_path, callbacks=[Summary()], **quiet)
    trainer.fit(model, DataLoader(TensorDataset(torch.randn(12, 4)), 4))
    assert model.steps == 3
