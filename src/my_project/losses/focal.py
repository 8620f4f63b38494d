"""A loss for classes of very unequal size: `--model.task.loss FocalLoss`."""

from torch import Tensor, nn
from torch.nn import functional as F


class FocalLoss(nn.NLLLoss):  # it has a `weight` for each class
    """Cross-entropy where a sample counts less the surer the model is of its class: (1 - p)^gamma (Lin et al., 2017).

    Logits (B, K) and class indices (B,) int64 → scalar; or logits and 0/1 targets (B, K) float32, with a sigmoid each.

    Args:
        gamma: how fast a sure sample loses weight; 0 is plain cross-entropy.

    Raises:
        ValueError: if gamma is negative.
    """

    def __init__(self, gamma: float = 2.0) -> None:
        super().__init__()
        if gamma < 0:
            raise ValueError(f"gamma is {gamma}: expected at least 0")
        self.gamma = gamma

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        if targets.is_floating_point():
            log_p = -F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
            return -((1 - log_p.exp()) ** self.gamma * log_p).mean()
        log_p = -F.cross_entropy(logits, targets, reduction="none")  # of the true class
        weights = log_p.new_ones(len(log_p)) if self.weight is None else self.weight[targets]
        return -(weights * (1 - log_p.exp()) ** self.gamma * log_p).sum() / weights.sum()
