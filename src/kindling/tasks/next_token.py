"""The token that comes next: `kindling fit --config configs/text.yaml`."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from kindling.core.errors import UsageError
from kindling.tasks.base import Task
from kindling.tasks.token_measures import TokenMeasures, token_losses

IGNORED = -100  # the target of a position that does not count, as in torch's cross-entropy
DRAWN = 2**23  # logits that figures are drawn from, at most: 32 MB


class NextToken(Task):
    """Language modelling: each token of a sample but the first is predicted from those before it, by cross-entropy.

    Outputs (B, L, V) are logits of the token after each position, which the model must not see, as in a causal
    Transformer. Targets are the tokens themselves, shifted by one; what pads a sequence does not count, by the lengths
    that come with it. The loss is in nats per token, a mean over all tokens of a split; perplexity is its
    exponential. Where the data says how many bytes its tokens have, bits per byte compare models with different tokens.

    A prediction of a sample is how many of its tokens were predicted, and their loss.

    Raises:
        ValueError: if the data has no tokens.
    """

    fits = "tokens to come"
    figures = ("loss_by_position",)
    metrics_of = ()
    vocabulary: int | None

    def build(self, targets: str, count: int) -> None:
        if not self.vocabulary:
            raise ValueError("NextToken needs data with tokens, such as Text")
        self.samples_drawn = max(1, DRAWN // (self.vocabulary * self.input_shape[0]))
        super().build(targets, self.vocabulary)

    def prepare(self) -> None:
        self.add_metrics({"measures": TokenMeasures(self.num_outputs, IGNORED)}, {})

    def example(self, count: int) -> tuple[Tensor, Tensor]:
        return torch.zeros(2, 3, count), torch.zeros(2, 3).long()

    def start(self, data: Any) -> None:
        """Learn how many bytes each token has, if the data says so."""
        super().start(data)
        lengths = getattr(data, "token_bytes", None)
        if lengths:
            for metrics in (self.train_metrics, self.val_metrics, self.test_metrics):
                metrics["measures"].token_bytes.copy_(torch.tensor(lengths))  # type: ignore[operator]

    def targets_of(self, batch: Any) -> Tensor:
        """The token after each position, (B, L); IGNORED after the last one of a sample."""
        tokens, *others = self.inputs_of(batch)
        targets = F.pad(tokens[:, 1:], (0, 1), value=IGNORED)
        if not others:
            return targets
        steps = torch.arange(1, 1 + tokens.shape[1], device=tokens.device)  # of the token that is the target
        return targets.masked_fill(steps >= others[0][:, None], IGNORED)

    def loss_of(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self.check_outputs(outputs)
        counted = targets != IGNORED
        loss = F.cross_entropy(outputs.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
        return loss.where(counted.any(), 0.0)  # the mean over no token would be NaN

    def loss_weight(self, targets: Tensor) -> Tensor:
        """The number of tokens that count."""
        return (targets != IGNORED).sum()

    def scores(self, outputs: Tensor) -> Tensor:
        """The logits as they are: (B, L, V)."""
        return outputs

    def decode(self, scores: Tensor) -> Tensor:
        return scores.argmax(dim=-1)

    def sureness(self, scores: Any, targets: Any) -> None:
        """None for a whole sample."""

    def prediction(self, outputs: Tensor, batch: Any) -> Tensor:
        """How many tokens were predicted, and their loss, of each sample: (B, 2)."""
        targets = self.targets_of(batch)
        losses, counts = token_losses(outputs, targets, IGNORED).sum(dim=1), (targets != IGNORED).sum(dim=1)
        return torch.stack([counts, losses / counts], dim=1)

    def exported(self, outputs: Tensor, batch: Any) -> Tensor:
        """The logits, with which whoever has the file can generate."""
        return outputs

    def columns(self, scores: Tensor, names: list[str]) -> dict[str, Any]:
        counts, losses = scores.T
        return {"tokens": counts.int().numpy(), "loss": losses.numpy(), "perplexity": losses.exp().numpy()}

    def check_outputs(self, outputs: Any) -> None:
        shape = tuple(getattr(outputs, "shape", ()))
        if len(shape) != 3 or shape[2] != self.num_outputs:
            given = f"the model gives {type(outputs).__name__} of shape {shape}"
            raise UsageError(
                f"NextToken is for outputs of shape (batch, length, {self.num_outputs}), but {given}: use a "
                "model such as Transformer"
            )


@torch.inference_mode()
def continued(
    model: Any, tokens: list[int], count: int, temperature: float = 1.0, top_k: int | None = None, seed: int = 0
) -> list[int]:
    """The `count` tokens that a language model writes after some.

    For each token it sees as many of the last ones as it was trained to predict from. The random generators of a
    training stay as they are.

    Args:
        model: with a task NextToken, in evaluation.
        tokens: at least one.
        count: how many to write.
        temperature: below 1 for what is likelier, above 1 for what is rarer; 0 for the likeliest token each time.
        top_k: how many of the likeliest tokens to draw from; None for all.
        seed: of the draw.
    """
    context = max(1, model.input_shape[0] - 1)  # nothing was learnt about what comes after the last token of a sample
    generator = torch.Generator().manual_seed(seed)
    written = list(tokens)
    for _ in range(count):
        seen = torch.tensor([written[-context:]], device=model.device)
        logits = model(seen)[0, -1].float().cpu()
        if temperature:
            likely = logits.topk(min(top_k or len(logits), len(logits)))
            shares = (likely.values / temperature).softmax(dim=0)
            chosen = likely.indices[torch.multinomial(shares, 1, generator=generator)]
        else:
            chosen = logits.argmax()
        written.append(int(chosen))
    return written[len(tokens) :]
