"""NextToken: loss, perplexity and bits per byte equal references over a whole split, and padding counts for nothing."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics.text import Perplexity

from kindling.core.errors import UsageError
from kindling.figures.loss_by_position import draw
from kindling.figures.results import Results
from kindling.tasks import NextToken
from kindling.tasks.next_token import IGNORED, continued
from my_project.models.mlp import MLP
from my_project.models.transformer import Transformer

VOCABULARY, LENGTH = 7, 6
GENERATOR = torch.Generator().manual_seed(0)
TOKENS = torch.randint(VOCABULARY, (30, LENGTH), generator=GENERATOR)
LENGTHS = torch.randint(2, LENGTH + 1, (30,), generator=GENERATOR)
LOGITS = 3 * torch.randn(30, LENGTH, VOCABULARY, generator=GENERATOR)


def build() -> NextToken:
    task = NextToken()
    task.input_shape, task.vocabulary = (LENGTH,), VOCABULARY
    task.build("one class a sample", 0)
    return task


def losses_by_numpy(lengths: Tensor | None) -> tuple[np.ndarray, np.ndarray]:
    """The loss of each token that is predicted, and the token, one by one."""
    logits = LOGITS.double().numpy()
    losses, targets = [], []
    for row in range(len(TOKENS)):
        for place in range(1, LENGTH if lengths is None else int(lengths[row])):
            before, target = logits[row, place - 1], int(TOKENS[row, place])
            losses.append(np.log(np.exp(before).sum()) - before[target])
            targets.append(target)
    return np.array(losses), np.array(targets)


@pytest.mark.parametrize("size", [1, 7, 30])
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "padded"])
def test_a_split_is_measured_over_all_of_its_tokens(size: int, lengths: Tensor | None) -> None:
    task, reference = build(), Perplexity(ignore_index=IGNORED)
    token_bytes = [1, 2, 3, 4, 5, 6, 7]
    task.start(SimpleNamespace(token_bytes=token_bytes))
    for start in range(0, 30, size):
        part = slice(start, start + size)
        others = () if lengths is None else (lengths[part],)
        targets = task.targets_of((TOKENS[part], *others, None))
        task.val_metrics.update(task.scores(LOGITS[part]), targets)
        task.val_loss.update(task.loss_of(LOGITS[part], targets), task.loss_weight(targets))
        reference.update(LOGITS[part], targets)
    losses, targets = losses_by_numpy(lengths)
    measured = {name: float(value) for name, value in task.val_metrics.compute().items()}
    places = torch.arange(1, LENGTH) < (LENGTHS[:, None] if lengths is not None else LENGTH)
    right = (LOGITS.argmax(dim=2)[:, :-1] == TOKENS[:, 1:])[places.expand(30, -1)]
    assert measured == pytest.approx(
        {
            "val/accuracy": float(right.double().mean()),
            "val/bits_per_byte": losses.sum() / math.log(2) / np.array(token_bytes)[targets].sum(),
            "val/perplexity": math.exp(losses.mean()),
        },
        rel=1e-6,
    )
    assert measured["val/perplexity"] == pytest.approx(float(reference.compute()), rel=1e-5)
    assert float(task.val_loss.compute()) == pytest.approx(losses.mean(), rel=1e-6)


def test_bits_per_byte_need_to_know_the_bytes() -> None:
    task = build()
    task.val_metrics.update(LOGITS, task.targets_of((TOKENS, None)))
    assert sorted(task.val_metrics.compute()) == ["val/accuracy", "val/perplexity"]


def test_samples_without_a_token_to_predict_count_for_nothing() -> None:
    task = build()
    targets = task.targets_of((TOKENS, torch.ones(30).long(), None))
    assert (targets == IGNORED).all()
    assert float(task.loss_of(LOGITS, targets)) == 0
    assert float(task.loss_weight(targets)) == 0
    task.val_metrics.update(LOGITS, targets)
    assert task.val_metrics.compute()["val/perplexity"].isnan()


def test_a_prediction_is_the_loss_of_each_sample() -> None:
    task = build()
    table = task.columns(task.prediction(LOGITS, (TOKENS, LENGTHS, None)), [])
    losses, _ = losses_by_numpy(LENGTHS)
    rows = np.split(losses, np.cumsum(LENGTHS.numpy() - 1)[:-1])
    np.testing.assert_allclose(table["loss"], [row.mean() for row in rows], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(table["perplexity"], [math.exp(row.mean()) for row in rows], rtol=1e-5)
    assert table["tokens"].tolist() == (LENGTHS - 1).tolist()


def test_the_figure_shows_the_loss_by_what_was_seen() -> None:
    task = build()
    targets = task.targets_of((TOKENS, None))
    figure = draw(Results(names=[], targets=targets, predictions=targets, scores=LOGITS))
    assert figure is not None
    seen, means = figure.axes[0].lines[0].get_data()
    losses, _ = losses_by_numpy(None)
    assert list(seen) == [1, 2, 3, 4, 5]
    np.testing.assert_allclose(means, losses.reshape(30, -1).mean(axis=0), rtol=1e-5)
    assert draw(Results(names=[], targets=targets, predictions=targets, scores=LOGITS[0])) is None


def test_data_and_models_that_it_is_not_for_are_refused() -> None:
    with pytest.raises(ValueError, match="NextToken needs data with tokens, such as Text"):
        Transformer(input_shape=(8, 3), task=NextToken())
    with pytest.raises(UsageError, match=r"outputs of shape \(batch, length, 7\), .* of shape \(30, 7\)"):
        build().loss_of(LOGITS[:, 0], TOKENS)


def test_tokens_alone_are_told_their_task_and_a_model_that_takes_none_what_it_takes() -> None:
    with pytest.raises(ValueError, match="for tokens alone, use model.task NextToken"):
        Transformer(input_shape=(LENGTH,), vocabulary=VOCABULARY)
    with pytest.raises(ValueError, match="MLP takes .*: the data has tokens"):
        MLP(input_shape=(LENGTH,), vocabulary=VOCABULARY)


def language_model(**arguments: object) -> Transformer:
    torch.manual_seed(0)
    sizes = {"width": 16, "depth": 2, "heads": 2}
    return Transformer(input_shape=(LENGTH,), vocabulary=VOCABULARY, task=NextToken(), **sizes, **arguments).eval()  # type: ignore[arg-type]


def test_the_transformer_sees_nothing_of_what_comes() -> None:
    model, changed = language_model(), TOKENS.clone()
    changed[:, 3] = (changed[:, 3] + 1) % VOCABULARY
    one, other = model(TOKENS), model(changed)
    assert one.shape == (30, LENGTH, VOCABULARY)
    torch.testing.assert_close(one[:, :3], other[:, :3])
    assert not torch.allclose(one[:, 3:], other[:, 3:])


def test_the_transformer_starts_at_a_guess_and_learns_by_heart() -> None:
    model = language_model(positions="sinusoidal")
    targets = model.task.targets_of((TOKENS[:8], None))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    first = float(model.task.loss_of(model(TOKENS[:8]), targets))
    assert first == pytest.approx(math.log(VOCABULARY), rel=0.35)
    for _ in range(150):
        optimizer.zero_grad()
        loss = model.task.loss_of(model(TOKENS[:8]), targets)
        loss.backward()
        optimizer.step()
    beginnings = TOKENS[:8, 0].tolist()
    floor = sum(math.log(beginnings.count(token)) for token in beginnings) / (8 * (LENGTH - 1))  # what no one can know
    assert float(loss.detach()) < floor + 0.1
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_what_is_generated_is_drawn_from_the_model() -> None:
    model = language_model()
    likeliest = continued(model, [1, 2], 9, temperature=0)
    written = [1, 2]
    for _ in range(9):
        written.append(int(model(torch.tensor([written[-(LENGTH - 1) :]]))[0, -1].argmax()))
    assert likeliest == written[2:]
    assert continued(model, [1, 2], 9, top_k=1) == likeliest
    state = torch.get_rng_state()
    drawn = continued(model, [1, 2], 50, temperature=1.5, seed=3)
    assert drawn == continued(model, [1, 2], 50, temperature=1.5, seed=3)
    assert drawn != continued(model, [1, 2], 50, temperature=1.5, seed=4)
    assert torch.equal(state, torch.get_rng_state())
    shares = (model(torch.tensor([[1, 2]]))[0, -1] / 0.7).softmax(dim=0).detach().numpy()
    first = [continued(model, [1, 2], 1, temperature=0.7, seed=seed)[0] for seed in range(2000)]
    np.testing.assert_allclose(np.bincount(first, minlength=VOCABULARY) / 2000, shares, atol=0.04)
