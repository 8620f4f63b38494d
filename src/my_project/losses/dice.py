"""A loss for masks whose classes are of very unequal size: `--model.task Segmentation --model.task.loss DiceLoss`."""

from torch import Tensor, nn
from torch.nn import functional as F


class DiceLoss(nn.Module):
    """1 - Dice, a mean over a batch's classes (Milletari et al., 2016): logits (M, K), classes (M,) int64 → scalar.

    Args:
        cross_entropy: weight of the cross-entropy that is added, which learns faster at first.

    Raises:
        ValueError: if the weight is negative.
    """

    def __init__(self, cross_entropy: float = 1.0) -> None:
        super().__init__()
        if cross_entropy < 0:
            raise ValueError(f"cross_entropy is {cross_entropy}: expected at least 0")
        self.cross_entropy = cross_entropy

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        p = logits.softmax(dim=1)
        truth = F.one_hot(targets, logits.shape[1]).to(p.dtype)  # (M, K)
        there = truth.sum(dim=0)
        dice = 2 * (p * truth).sum(dim=0) / (p.sum(dim=0) + there).clamp_min(1e-6)
        loss = 1 - dice.sum() / (there > 0).sum()
        return loss + self.cross_entropy * F.cross_entropy(logits, targets)
