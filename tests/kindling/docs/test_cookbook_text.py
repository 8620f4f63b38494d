"""The cookbook's pages on text, with a tiny network of random weights in a folder in the place of a pretrained one."""

import json
import shutil
from collections.abc import Callable
from importlib import import_module, invalidate_caches
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Result
from cookbook_pages import code_of, commands_of
from interrupted import assert_resumes_identically

from kindling import load
from kindling.run.checkpoint_files import load_checkpoint

pytestmark = pytest.mark.slow
WORDS = [
    "the",
    "book",
    "film",
    "meal",
    "hotel",
    "was",
    "awful",
    "boring",
    "lovely",
    "great",
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
]
RUN = Path("lightning_logs/unnamed/version_0")
FEW = ["--trainer.max_epochs", "10", "--trainer.accelerator", "cpu", "--data.length", "8", "--data.batch_size", "16"]
FAST = ["--model.optimizer.lr", "1e-2", "--model.groups", "{}"]  # for a tiny network


@pytest.fixture
def pages(project: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Any]:
    """Makes the code of a page a module of a name, beside weights in a folder `weights`."""
    transformers = pytest.importorskip("transformers")
    monkeypatch.syspath_prepend(project)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    Path("vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    transformers.BertTokenizer("vocab.txt").save_pretrained("weights")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    torch.manual_seed(0)
    config = transformers.BertConfig(vocab_size=len(WORDS), **sizes)
    transformers.AutoModel.from_config(config).save_pretrained("weights")

    def module(page: str, name: str) -> Any:
        Path(f"{name}.py").write_text(code_of(page), encoding="utf-8")
        monkeypatch.delitem(__import__("sys").modules, name, raising=False)
        invalidate_caches()
        return import_module(name)

    return module


def weights(name: str) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = load_checkpoint(RUN / f"checkpoints/{name}.ckpt")["state_dict"]
    return state


def test_hugging_face(pages: Any, kindling: Callable[..., Result]) -> None:
    reviews = pages("hugging_face", "reviews")
    fit, test = commands_of("hugging_face")
    assert kindling(*fit, *FEW, "--trainer.max_epochs", 2).code == 0  # of which the body is frozen for one
    assert kindling(*test).code == 0
    finished = kindling(*fit, *FEW, *FAST, "--trainer.max_epochs", 40, "--name", "longer")
    assert finished.code == 0, finished.err
    results = json.loads(Path("lightning_logs/longer/version_0/results.json").read_text(encoding="utf-8"))
    assert results["test"]["accuracy"] > 0.9
    shutil.rmtree("weights")
    refused = kindling(*fit)
    assert refused.code == 2
    assert "weights has no config.json" in refused.err
    predictor = load("lightning_logs/longer/version_0", device="cpu")  # without the folder
    tokens = torch.tensor(
        [[WORDS.index(word) for word in ("[CLS]", "the", "film", "was", each, "[SEP]")] for each in ("awful", "great")]
    )
    assert predictor(tokens.numpy(), lengths=[6, 6])["prediction"].tolist() == ["bad", "good"]
    with pytest.raises(ValueError, match="nowhere has no config.json: put the files of the model's page on the hub"):
        reviews.Reviews("nowhere")


def test_hugging_face_resumes(pages: Any, kindling: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    pages("hugging_face", "reviews")
    fit, test = commands_of("hugging_face")
    assert_resumes_identically(kindling, monkeypatch, [*fit, *FEW], test[3:], accident=30)


def test_lora_resumes(pages: Any, kindling: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("peft")
    pages("hugging_face", "reviews")
    pages("lora", "adapted")
    fit, test = commands_of("lora")
    assert_resumes_identically(kindling, monkeypatch, [*fit, *FEW], test[3:], accident=30)


def test_lora(pages: Any, kindling: Callable[..., Result]) -> None:
    pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    pages("hugging_face", "reviews")
    adapted = pages("lora", "adapted")
    fit, test = commands_of("lora")
    finished = kindling(*fit, *FEW)
    assert finished.code == 0, finished.err
    assert "parameters are trained" in finished.out
    assert kindling(*test).code == 0
    begun = transformers.AutoModel.from_pretrained("weights").state_dict()
    trained = weights("last")
    moved = {name for name, value in trained.items() if "lora_B" in name and value.any()}
    assert len(moved) == 4  # queries and values of two layers
    for name, value in begun.items():
        kept = [other for key, other in trained.items() if key.replace("base_layer.", "").endswith(f"bert.{name}")]
        assert all(torch.equal(value, other) for other in kept), name
    shutil.rmtree("weights")
    adapted.save_merged(RUN / "checkpoints/best.ckpt", "merged")
    merged = transformers.AutoModelForSequenceClassification.from_pretrained("merged").eval()
    model = load(RUN, device="cpu").model
    tokens = torch.randint(len(WORDS), (5, 8), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = model(tokens, torch.full((5,), 8))
        torch.testing.assert_close(merged(input_ids=tokens).logits, expected, rtol=1e-4, atol=1e-5)
