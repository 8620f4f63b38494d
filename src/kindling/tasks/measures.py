"""What the tasks measure on a split: the values that scikit-learn gives for the table of predictions.

Scores and targets are kept as they come (for pixels only counts), and everything is computed from them at the end, in
float64 on the CPU. So nothing depends on the size of the batches or on the number of processes, and a target far from
zero, or in a small unit, loses no digits: torchmetrics sums in float32, and counts a class that a split lacks as 0.

What is undefined, such as the recall of a class that a split lacks, is left out of a mean, and is NaN where nothing is
left; `notes` says why. In scikit-learn's words: labels of the targets, zero_division=nan, force_finite=False.
"""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from kindling.tasks.float64 import in_float64

BINS = 15  # of the calibration error
UNDEFINED = {  # when
    "accuracy": "without a pixel or a token that counts",
    "precision": "without a prediction of the class",
    "recall": "without a sample of the class",
    "f1": "without a sample of the class",
    "auroc": "without samples of the class and of others",
    "iou": "without a pixel of the class",
    "dice": "without a pixel of the class",
    "r2": "where all targets are equal",
    "psnr": "for images that don't lie between 0 and 1",
    "perplexity": "without a token that counts",
    "bits_per_byte": "without a token that counts",
}
ROUNDED = 1e-4  # how far pixels that were normalised may lie outside 0 to 1
KINDS = {"r2": "targets"}  # what a mean is taken over; classes elsewhere


class Kept(Metric):
    """Keeps what each batch gives it, for a subclass to compute from all of it."""

    full_state_update = False
    first: Any
    second: Any

    def __init__(self) -> None:
        super().__init__()
        self.add_state("first", [], dist_reduce_fx="cat")
        self.add_state("second", [], dist_reduce_fx="cat")

    def update(self, first: Tensor, second: Tensor) -> None:
        self.first.append(first.detach())
        self.second.append(second.detach())

    @property
    def is_empty(self) -> bool:
        return isinstance(self.first, list) and not self.first

    def kept(self) -> tuple[Tensor, Tensor]:
        """What all batches of all processes gave, on the CPU."""
        first, second = (torch.cat(each) if isinstance(each, list) else each for each in (self.first, self.second))
        return first.cpu(), second.cpu()


class WeightedMean(Kept):
    """The mean of the batches' losses by their weights: `update(loss, weight)`, both scalars; NaN stays NaN."""

    def update(self, first: Any, second: Any) -> None:
        loss, weight = (torch.as_tensor(each, device=self.device).reshape(1) for each in (first, second))
        super().update(loss, weight)

    def compute(self) -> Tensor:
        if self.is_empty:
            return torch.tensor(torch.nan)
        losses, weights = (each.double() for each in self.kept())
        counts = weights > 0  # the loss of a batch whose samples all weigh nothing is NaN
        return (losses[counts] * weights[counts]).sum() / weights.sum()


class Measures(Kept):
    """Several measures at once, by name, from scores and targets: `update(scores, targets)`.

    Args:
        whole_split: whether to give what needs a whole split, and takes a while, as well.
    """

    names: tuple[str, ...]  # of those that a training batch has as well
    further_names: tuple[str, ...] = ()  # of those that need a whole split

    def __init__(self, whole_split: bool) -> None:
        super().__init__()
        self.whole_split = whole_split
        self.notes: dict[str, str] = {}  # what was undefined in the last computation, by the name of the measure

    def compute(self) -> dict[str, Tensor]:
        self.notes = {}
        if self.is_empty:
            return {}
        scores, targets = self.kept()
        each = self.each(scores, targets)
        if not scores.isfinite().all():  # of a model that has diverged: its NaN is an error, not a lack of samples
            return {name: values.mean() for name, values in each.items()}
        return {name: mean_of_defined(name, values, self.notes) for name, values in each.items()}

    def each(self, scores: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """The values of each measure, one for each class or target: NaN where it is undefined."""
        raise NotImplementedError


class ClassMeasures(Measures):
    """Of one class per sample, from probabilities (N, K, …) and indices (N, …): means over the classes there are."""

    names = ("accuracy", "precision", "recall", "f1")
    further_names = ("auroc", "calibration_error")

    def each(self, scores: Tensor, targets: Tensor) -> dict[str, Tensor]:
        scores, targets = _rows(scores), targets.flatten()
        count, predictions = scores.shape[1], scores.argmax(dim=1)
        right = targets == predictions
        hits, predicted, actual = (
            torch.bincount(each, minlength=count).double() for each in (targets[right], predictions, targets)
        )
        there = actual > 0
        measured = {"accuracy": right.double().mean(0, keepdim=True)}
        measured |= {name: _only(values, there) for name, values in ratios(hits, predicted, actual).items()}
        if self.whole_split:
            measured["auroc"] = torch.stack([auroc(scores[:, index], targets == index) for index in range(count)])
            measured["calibration_error"] = calibration_error(scores.amax(dim=1), right)
        return measured


class LabelMeasures(Measures):
    """Of a yes or no, from probabilities and 0/1 targets (N, …), or of one for each of K classes, from (N, K, …).

    Args:
        several: whether it is the latter.
        threshold: a probability above it means yes.
        whole_split: see Measures.
    """

    names, further_names = ClassMeasures.names, ClassMeasures.further_names

    def __init__(self, several: bool, threshold: float, whole_split: bool) -> None:
        super().__init__(whole_split)
        self.several, self.threshold = several, threshold

    def each(self, scores: Tensor, targets: Tensor) -> dict[str, Tensor]:
        scores, targets = (_rows(each) if self.several else each.reshape(-1, 1) for each in (scores, targets))
        truths, predictions = targets == 1, scores > self.threshold  # (N, K)
        counts = ((truths & predictions), predictions, truths)
        hits, predicted, actual = (each.sum(dim=0).double() for each in counts)
        there = (actual > 0) | (not self.several)
        measured = {"accuracy": (predictions == truths).double().mean().reshape(1)}
        measured |= {name: _only(values, there) for name, values in ratios(hits, predicted, actual).items()}
        if self.whole_split:
            pairs = zip(scores.T, truths.T, strict=True)
            measured["auroc"] = torch.stack([auroc(*pair) for pair in pairs])
            if not self.several:
                measured["calibration_error"] = calibration_error(scores[:, 0], truths[:, 0])
        return measured


class NumberMeasures(Measures):
    """Of numbers, from predictions and targets (N, T), in the unit of the targets."""

    names = ("mae", "rmse", "r2")

    def each(self, scores: Tensor, targets: Tensor) -> dict[str, Tensor]:
        predictions, targets = (each.reshape(len(each), -1).double() for each in (scores, targets))
        errors = predictions - targets
        spread = (targets - targets.mean(dim=0)).square().sum(dim=0)
        alike = targets.amax(dim=0) == targets.amin(dim=0)  # which a rounded mean would hide
        squares = errors.square()
        return {
            "mae": errors.abs().mean().reshape(1),
            "rmse": squares.mean(dim=0).sqrt().mean().reshape(1),
            "r2": (1 - squares.sum(dim=0) / spread).masked_fill(alike, torch.nan),
        }


class ReconstructionMeasures(Measures):
    """Of reconstructed inputs, (N, …), in their unit; only what is needed of each sample is kept, not the sample.

    Args:
        of_images: whether they are images: these have a peak signal-to-noise ratio, in dB, for a peak of 1.
    """

    def __init__(self, of_images: bool) -> None:
        super().__init__(whole_split=False)
        self.names = ("mse", "psnr") if of_images else ("mse",)

    def update(self, first: Tensor, second: Tensor) -> None:
        errors = (in_float64(first) - in_float64(second)).square().flatten(1).mean(dim=1)
        super().update(errors, torch.stack([second.flatten(1).amin(dim=1), second.flatten(1).amax(dim=1)], dim=1))

    def each(self, scores: Tensor, targets: Tensor) -> dict[str, Tensor]:
        mse = scores.mean().reshape(1)
        lies_between = targets.min() > -ROUNDED and targets.max() < 1 + ROUNDED
        psnr = -10 * mse.log10() if lies_between else torch.full_like(mse, torch.nan)
        return {name: {"mse": mse, "psnr": psnr}[name] for name in self.names}


class PixelMeasures(Metric):
    """Of one class per pixel, from probabilities (B, K, H, W) and indices (B, H, W): means over the classes there are.

    Only counts of pixels are kept, since all pixels of a split would fill the memory.

    Args:
        classes: how many there are.
        ignore_index: the target of a pixel that does not count.
    """

    full_state_update = False
    names = ("accuracy", "dice", "iou")
    counts: Tensor

    def __init__(self, classes: int, ignore_index: int) -> None:
        super().__init__()
        self.classes, self.ignore_index = classes, ignore_index
        self.add_state("counts", torch.zeros(3, classes, dtype=torch.long), dist_reduce_fx="sum")
        self.notes: dict[str, str] = {}  # see Measures

    def update(self, scores: Tensor, targets: Tensor) -> None:
        self.counts += pixel_counts(scores.argmax(dim=1), targets, self.classes, self.ignore_index).sum(dim=1)

    def compute(self) -> dict[str, Tensor]:
        self.notes = {}
        hits, predicted, actual = self.counts.cpu().double()
        measured = {"accuracy": (hits.sum() / actual.sum()).reshape(1)}
        measured |= {name: _only(values, actual > 0) for name, values in overlaps(hits, predicted, actual).items()}
        return {name: mean_of_defined(name, values, self.notes) for name, values in measured.items()}


def pixel_counts(predictions: Tensor, targets: Tensor, classes: int, ignore_index: int) -> Tensor:
    """How many pixels of each class are right, predicted and true, in each sample: (B, H, W) twice → (3, B, K)."""
    counted = targets != ignore_index
    first = classes * torch.arange(len(targets), device=targets.device)[:, None, None]  # place of a sample's class 0
    predicted, actual = (first + predictions)[counted], (first + targets)[counted]
    right = actual[actual == predicted]
    counts = [torch.bincount(each, minlength=classes * len(targets)) for each in (right, predicted, actual)]
    return torch.stack(counts).view(3, len(targets), classes)


def overlaps(hits: Tensor, predicted: Tensor, actual: Tensor) -> dict[str, Tensor]:
    """Intersection over union (Jaccard, 1901) and Dice (1945) of each class, from counts (…, K) of pixels."""
    return {"dice": 2 * hits / (predicted + actual), "iou": hits / (predicted + actual - hits)}


def mean_of_defined(name: str, values: Tensor, notes: dict[str, str]) -> Tensor:
    """The mean of those values of a measure, one for each class or target, that are not NaN; `notes` says which are."""
    defined = values[~values.isnan()]
    if len(defined) < len(values):
        kind = KINDS.get(name, "classes")
        some = f"a mean over {len(defined)} of {len(values)} {kind}: it is " if len(defined) else ""
        notes[name] = f"{some}undefined {UNDEFINED[name]}"
    return defined.mean()


def names_in(metrics: MetricCollection) -> list[str]:
    """The names of all that a collection measures, without its prefix."""
    names: list[str] = []
    for name, metric in metrics.items(keep_base=True, copy_state=False):
        names += getattr(metric, "names", (name,))
        names += getattr(metric, "further_names", ()) if getattr(metric, "whole_split", False) else ()
    return sorted(names)


def ratios(hits: Tensor, predicted: Tensor, actual: Tensor) -> dict[str, Tensor]:
    """Precision, recall and F1 of each class, from counts (K,) of samples; NaN for 0 / 0."""
    return {"precision": hits / predicted, "recall": hits / actual, "f1": 2 * hits / (predicted + actual)}


def _rows(values: Tensor) -> Tensor:
    """All samples, and all pixels where they have some, one after the other: (N, K, …) → (M, K)."""
    return values.movedim(1, -1).flatten(0, -2)


def _only(values: Tensor, there: Tensor) -> Tensor:
    return values.masked_fill(~there, torch.nan)


def auroc(scores: Tensor, truths: Tensor) -> Tensor:
    """How often a yes has the higher score than a no, a tie being half: scores (N,) and truths (N,) bool → scalar.

    That is the area under the ROC curve (Hanley and McNeil, 1982); NaN without a yes or a no, or if a score is NaN.
    """
    yes, no = scores[truths].contiguous(), scores[~truths].sort().values
    if not len(yes) or not len(no) or not scores.isfinite().all():
        return torch.tensor(torch.nan, dtype=torch.float64)
    below, not_above = (torch.searchsorted(no, yes, right=right).double() for right in (False, True))
    return (below + not_above).mean() / (2 * len(no))


def calibration_error(sureness: Tensor, right: Tensor) -> Tensor:
    """The gap between sureness (N,) and the share that is right (N,), by bin of sureness (Naeini et al., 2015) → (1,).

    The bins are those of scikit-learn's `calibration_curve`.
    """
    sureness, right = sureness.double(), right.double()
    bins = torch.searchsorted(torch.linspace(0, 1, BINS + 1, dtype=torch.float64)[1:-1], sureness)
    gaps = torch.bincount(bins, weights=sureness - right, minlength=BINS)
    return gaps.abs().sum().reshape(1) / len(sureness)
