"""A language model by the commands: fit, resume, test, what it writes after a prompt, and the loss of a text."""

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from conftest import QUICK, Result, assert_refused
from interrupted import assert_resumes_identically
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from kindling import load
from kindling.core.tables import printable
from kindling.data import Text

Run = Callable[..., Result]
RUN = Path("lightning_logs/unnamed/version_0")
MODEL = ["--model", "Transformer", "--model.task", "NextToken", "--model.width", 16, "--model.depth", 1]
FIT = ["fit", *MODEL, "--data", "Text", "--data.path", "book.txt", "--data.length", 16, "--data.batch_size", 16, *QUICK]
TEXT = "".join(f"{number} times {number} is {number * number}, who would have thought so\n" for number in range(150))


@pytest.fixture(autouse=True)
def book(project: Path) -> None:
    Path("book.txt").write_text(TEXT, encoding="utf-8")


def read(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def total(rows: list[dict[str, str]]) -> tuple[int, float]:
    """The tokens of a table, and their mean loss."""
    counts, losses = (np.array([float(row[name]) for row in rows]) for name in ("tokens", "loss"))
    return int(counts.sum()), float((counts * losses).sum() / counts.sum())


@pytest.mark.figures
@pytest.mark.slow
def test_a_run_is_measured_predicts_exports_and_writes(kindling: Run) -> None:
    fitted = kindling(*FIT)
    assert fitted.code == 0, fitted.err
    assert "Text (16 tokens, vocabulary of 256; " in fitted.out
    assert f"kindling predict --run {RUN} --prompt TEXT" in fitted.out
    files = {path.name for path in (RUN / "figures").iterdir()}
    assert files == {f"{split}_{name}" for split in ("val", "test") for name in ("loss_by_position.png", "text.txt")}
    events = EventAccumulator(str(next(RUN.rglob("events.out*")).parent)).Reload()
    assert "val/text/text_summary" in events.Tags()["tensors"]
    assert kindling("test", "--run", "latest").code == 0
    tested = json.loads((RUN / "test/results.json").read_text())["test"]
    assert tested["perplexity"] == pytest.approx(math.exp(tested["loss"]), rel=1e-5)
    assert tested["bits_per_byte"] == pytest.approx(tested["loss"] / math.log(2), rel=1e-5)

    assert kindling("predict", "--run", "latest").code == 0
    rows = read(RUN / "predict/predictions.csv")
    data = Text("book.txt", length=16)
    assert [row["input"] for row in rows] == [str(row) for row in data.splits["test"].tolist()]
    assert total(rows) == (15 * len(rows), pytest.approx(tested["loss"], rel=1e-5))

    assert kindling("export", "--run", "latest").code == 0
    tokens = data.samples[0][torch.arange(5)]
    session = onnxruntime.InferenceSession(RUN / "export/model.onnx")
    (exported,) = session.run(None, {"inputs": tokens.numpy()})
    predictor = load(RUN, device="cpu")
    with torch.inference_mode():
        np.testing.assert_allclose(exported, predictor.model(tokens), rtol=1e-4, atol=1e-5)
    assert json.loads(json.dumps(session.get_modelmeta().custom_metadata_map))["tokens"] == "bytes"

    before = sorted(Path().rglob("*"))
    greedy = kindling("predict", "--run", "latest", "--prompt", "9 times", "--length", 20, "--temperature", 0)
    assert sorted(Path().rglob("*")) == before
    text = "9 times" + predictor.generate("9 times", length=20, temperature=0)
    assert greedy.out == "\n".join(map(printable, text.split("\n"))) + "\n"
    drawn = [kindling("predict", "--run", "latest", "--prompt", "9", "--seed", seed).out for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    kindling("predict", "--run", "latest", "--prompt", "9", "--seed", 1, "--output", "written.txt")
    assert Path("written.txt").read_bytes().decode() == "9" + predictor.generate("9", seed=1) + "\n"


def test_a_training_that_was_interrupted_ends_the_same(kindling: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_resumes_identically(kindling, monkeypatch, [*map(str, FIT), "--figures.enabled", "false"], [])


def test_figures_and_what_is_written_change_nothing(kindling: Run) -> None:
    flags = ["--model.dropout", 0.2, "--figures.every_seconds", 0, "--figures.enabled"]
    for enabled in ("true", "false"):
        assert kindling(*FIT, *flags, enabled).code == 0
    one, other = (
        torch.load(RUN.with_name(name) / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for name in ("version_0", "version_1")
    )
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_texts_are_measured_window_by_window(kindling: Run) -> None:
    assert kindling(*FIT, "--figures.enabled", "false").code == 0
    Path("texts").mkdir()
    for name, text in {"a": TEXT[:100], "b": "short", "c": "x"}.items():
        Path(f"texts/{name}.txt").write_text(text, encoding="utf-8")
    finished = kindling("predict", "--run", "latest", "--input", "texts", "--batch_size", 3)
    assert finished.code == 0, finished.err
    rows = read(RUN / "predict/predictions_texts.csv")
    assert [row["input"] for row in rows] == [*(f"a.txt:{start}" for start in range(0, 100, 15)), "b.txt:0"]
    assert [int(row["tokens"]) for row in rows] == [15] * 6 + [9, 4]
    model = load(RUN, device="cpu").model
    window = torch.tensor(list(TEXT.encode()[15:31]))
    with torch.inference_mode():
        logits = model(window[None])[0, :-1].double()
    assert float(rows[1]["loss"]) == pytest.approx(
        float(torch.nn.functional.cross_entropy(logits, window[1:])), rel=1e-5
    )
    Path("none.txt").touch()
    assert "none.txt is empty: expected text" in kindling("predict", "--run", "latest", "--input", "none.txt").err
    np.save("tokens.npy", np.array([list(TEXT.encode()[15:31])]))
    assert kindling("predict", "--run", "latest", "--input", "tokens.npy").code == 0
    assert float(read(RUN / "predict/predictions_tokens.csv")[0]["loss"]) == pytest.approx(
        float(rows[1]["loss"]), rel=1e-5
    )


def test_what_no_language_model_can_do_is_refused(kindling: Run) -> None:
    assert_refused(kindling("predict", "--length", 3), "--length is for --prompt TEXT: give that too")
    both = kindling("predict", "--prompt", "a", "--input", "book.txt")
    assert_refused(both, "--prompt and --input are both given: one generates text, the other measures it")
    assert kindling("fit", "--config", "configs/digits_mlp.yaml", *QUICK, "--figures.enabled", "false").code == 0
    refused = kindling("predict", "--run", "latest", "--prompt", "a")
    assert refused.code == 2
    assert "MLP with the task Classification, trained on images, can't write text: that needs the task" in refused.err
    assert kindling(*FIT, "--figures.enabled", "false").code == 0
    for flags, message in (
        (["--prompt", ""], "the prompt is empty: expected a text to go on with"),
        (["--prompt", "a", "--length", 0], "length is 0, temperature 1.0, top_k None: expected at least 1, 0 and 1"),
        (["--prompt", "a", "--temperature", -1], "temperature -1.0"),
    ):
        refused = kindling("predict", "--run", "latest", *flags)
        assert refused.code == 2
        assert message in refused.err


def test_bytes_of_any_encoding_are_predicted_as_they_were_trained_on(kindling: Run) -> None:
    content = TEXT.replace("thought", "gedächt").encode("latin-1")
    Path("book.txt").write_bytes(content)
    assert kindling(*FIT, "--figures.enabled", "false").code == 0
    finished = kindling("predict", "--run", "latest", "--input", "book.txt")
    assert finished.code == 0, finished.err
    assert total(read(RUN / "predict/predictions_book.csv"))[0] == len(content) - 1


def test_tokens_without_their_text_are_trained_on_but_write_nothing(kindling: Run) -> None:
    np.savez("a.npz", x_train=np.random.default_rng(0).integers(0, 9, (200, 12)))
    data = ["--data", "Arrays", "--data.path", "a.npz", "--data.inputs", "tokens", "--data.kind", "unlabelled"]
    assert kindling("fit", *MODEL, *data, *QUICK, "--figures.enabled", "false").code == 0
    assert "can't write text" in kindling("predict", "--run", "latest", "--prompt", "a").err
    assert kindling("predict", "--run", "latest").code == 0


def test_a_checkpoint_with_pieces_of_words_needs_nothing_else(kindling: Run) -> None:
    pytest.importorskip("tokenizers")
    assert kindling(*FIT, "--data.tokens", "bpe", "--data.vocabulary", 300, "--figures.enabled", "false").code == 0
    assert kindling("test", "--run", "latest").code == 0
    Path("book.txt").unlink()
    alone = (RUN / "checkpoints/best.ckpt").rename("alone.ckpt")
    written = kindling("predict", "--ckpt", alone, "--prompt", "9 times", "--length", 5)
    assert written.code == 0, written.err
    assert written.out.startswith("9 times")
