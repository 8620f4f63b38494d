"""A blend of two regression losses: `--model.task.loss MSEMAELoss --model.task.loss.alpha 0.7`."""

from torch import Tensor, nn
from torch.nn import functional as F


class MSEMAELoss(nn.MSELoss):
    """alpha · mean squared error + (1 - alpha) · mean absolute error: outputs and targets (B, T) → scalar.

    Args:
        alpha: share of the squared error, in [0, 1].

    Raises:
        ValueError: if alpha is out of range.
    """

    def __init__(self, alpha: float = 0.5) -> None:
        super().__init__()
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha is {alpha}: expected a fraction in [0, 1]")
        self.alpha = alpha

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.alpha * F.mse_loss(outputs, targets) + (1 - self.alpha) * F.l1_loss(outputs, targets)
