"""How much earlier tokens help: the loss of a language model by how many tokens it has seen."""

import torch
from matplotlib.figure import Figure

from kindling.figures.results import Results, new_figure
from kindling.tasks.next_token import IGNORED
from kindling.tasks.token_measures import token_losses

POINTS = 64  # at most; each may be the mean over several positions


def draw(results: Results) -> Figure | None:
    """The mean loss at each position of the samples, on a logarithmic axis of positions."""
    logits, targets = results.scores, results.targets
    counted = targets != IGNORED
    if logits.dim() != 3 or not counted.any():
        return None
    losses = token_losses(logits, targets, IGNORED)  # (N, L)
    length = int(counted.any(dim=0).nonzero().max()) + 1
    edges = torch.logspace(0, 1, POINTS + 1, base=length + 1).round().long().unique()  # from 1 to length + 1
    seen, means = [], []
    for first, last in zip(edges[:-1] - 1, edges[1:] - 1, strict=True):
        here = counted[:, first:last]
        if here.any():
            seen.append(float(first + last + 1) / 2)  # tokens that a prediction was made from
            means.append(float(losses[:, first:last][here].double().mean()))
    figure = new_figure(7, 4.5)
    axes = figure.subplots()
    axes.plot(seen, means, marker=".")
    mean = float(losses[counted].double().mean())
    axes.axhline(mean, linestyle="--", color="grey", label=f"mean {mean:.4f}")
    axes.set_xscale("log")
    axes.set(xlabel="tokens seen", ylabel="loss (nats per token)", title=f"{len(targets):,} samples of the split")
    axes.legend()
    return figure
