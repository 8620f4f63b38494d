"""Reconstruction: metrics equal references, no labels are needed, and the commands do what they say."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from conftest import QUICK, Result, assert_refused
from PIL import Image
from sklearn.metrics import mean_squared_error
from torch import Tensor, nn
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from kindling import load
from kindling.core.errors import UsageError
from kindling.figures.reconstructions import draw
from kindling.figures.results import Results
from kindling.tasks import Reconstruction
from my_project.data.digits import Digits
from my_project.models.autoencoder import Autoencoder

Run = Callable[..., Result]
RUN = Path("lightning_logs/digits_autoencoder/version_0")
FIT = ["fit", "--config", "configs/digits_autoencoder.yaml", *QUICK, "--model.widths", "[8]", "--model.latent", 3]
VECTORS = np.random.default_rng(0).normal(5, 2, (60, 4)).astype(np.float32)
PHOTOS = np.random.default_rng(0).integers(0, 256, (40, 12, 12), dtype=np.uint8)


def build(shape: tuple[int, ...], **arguments: Any) -> Reconstruction:
    task = Reconstruction(**arguments)
    task.input_shape = shape
    task.build("one class a sample", 10)
    return task


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [1, 7, 30])
def test_metrics_equal_references(size: int) -> None:
    task = build((1, 16, 16))
    task.mean.fill_(0.4)
    task.std.fill_(0.3)
    images, outputs = random(30, 1, 16, 16), random(30, 1, 16, 16, seed=1)
    normalised = (images - 0.4) / 0.3
    for start in range(0, 30, size):
        part = slice(start, start + size)
        scores, targets = task.scores((outputs[part], outputs[part])), task.targets_of((normalised[part], None))
        task.val_metrics.update(scores, targets)
    made = outputs * 0.3 + 0.4
    measured = {name: float(value) for name, value in task.val_metrics.compute().items()}
    assert measured == pytest.approx(
        {
            "val/mse": mean_squared_error(images.flatten(), made.flatten()),
            "val/psnr": float(peak_signal_noise_ratio(made.double(), images.double(), data_range=1.0)),
        },
        rel=1e-6,
    )


def test_a_metric_of_images_by_name() -> None:
    name = {"ssim": {"class_path": "StructuralSimilarityIndexMeasure", "init_args": {"data_range": 1}}}
    task = build((1, 16, 16), metrics=name)
    images, made = random(30, 1, 16, 16), random(30, 1, 16, 16, seed=1)
    for part in (slice(0, 9), slice(9, 30)):
        task.val_metrics.update(made[part], images[part])
    expected = structural_similarity_index_measure(made.double(), images.double(), data_range=1.0)
    assert float(task.val_metrics.compute()["val/ssim"]) == pytest.approx(float(expected), rel=1e-6)
    with pytest.raises(ValueError, match="metrics is {ssim: Str.*StructuralSimilarityIndexMeasure is not for these"):
        build((4,), metrics=name)


def test_images_beyond_a_peak_of_one_have_no_psnr() -> None:
    task = build((1, 4, 4))
    task.val_metrics.update(random(5, 1, 4, 4), random(5, 1, 4, 4, seed=1) * 9)
    assert task.val_metrics.compute()["val/psnr"].isnan()
    task.take_notes(task.val_metrics)
    assert task.notes == {"val/psnr": "undefined for images that don't lie between 0 and 1"}


@pytest.mark.parametrize(("loss", "power"), [(None, 2), (nn.L1Loss(), 1)])
def test_the_loss_sees_normalised_inputs(loss: nn.Module | None, power: int) -> None:
    task = build((4,), loss=loss)
    task.mean.copy_(torch.tensor([100.0, 0, 0, -3]))
    task.std.copy_(torch.tensor([10.0, 1, 2, 0.1]))
    inputs, outputs = random(20, 4), random(20, 4, seed=1)
    expected = (inputs - outputs).abs().pow(power).mean()
    torch.testing.assert_close(task.loss_of(outputs, task.targets_of((inputs, None))), expected, rtol=1e-4, atol=1e-5)


def test_outputs_of_another_shape_are_refused() -> None:
    with pytest.raises(UsageError, match=r"outputs of shape \(10,\) for inputs of shape \(4,\)"):
        build((4,)).loss_of(torch.zeros(5, 10), torch.zeros(5, 4))
    with pytest.raises(UsageError, match=r"outputs of shape \(3, 8, 8\) for inputs of shape \(1, 8, 8\)"):
        build((1, 8, 8)).scores(torch.zeros(5, 3, 8, 8))


def test_outputs_in_a_row_are_brought_to_the_shape_of_the_inputs() -> None:
    task, batch = build((1, 4, 4)), random(5, 1, 4, 4)
    assert task.num_outputs == 16
    assert torch.equal(task.scores(batch.flatten(1)), batch)
    assert task.loss_of(batch.flatten(1), batch) == 0


def test_the_figure_shows_inputs_beside_what_is_made_of_them() -> None:
    images = random(7, 3, 6, 5)
    results = Results(names=[], targets=images, predictions=images, scores=images / 2)
    figure = draw(results)
    assert figure is not None
    picture = np.asarray(figure.axes[0].images[0].get_array())
    low, high = float(images.min()), float(images.max())
    first = (images[0].movedim(0, 2) - low) / (high - low)
    np.testing.assert_allclose(picture[3 : 3 + 6, 3 : 3 + 5], first, atol=1e-6)
    second = ((images[0] / 2).movedim(0, 2) - low) / (high - low)
    np.testing.assert_allclose(picture[3 : 3 + 6, 10 : 10 + 5], second.clamp(0, 1), atol=1e-6)
    assert (
        draw(Results(names=[], targets=VECTORS_AS_TENSOR, predictions=VECTORS_AS_TENSOR, scores=VECTORS_AS_TENSOR))
        is None
    )


VECTORS_AS_TENSOR = torch.from_numpy(VECTORS)


def read(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.figures
def test_predictions_of_a_run_are_its_latent_vectors_and_errors(kindling: Run) -> None:
    assert kindling(*FIT).code == 0
    assert kindling("test", "--run", "latest").code == 0
    assert {path.name for path in (RUN / "figures").iterdir()} == {
        "val_reconstructions.png",
        "test_reconstructions.png",
    }
    assert kindling("predict", "--run", "latest").code == 0
    assert kindling("export", "--run", "latest").code == 0
    tested = json.loads((RUN / "test/results.json").read_text())["test"]
    predictor, data = load(RUN), Digits()
    raw, labels = (each[data.splits["test"]] for each in data.samples)
    table = predictor(raw.numpy())
    assert list(table) == ["latent_0", "latent_1", "latent_2", "reconstruction_error"]
    assert table["reconstruction_error"].mean() == pytest.approx(tested["loss"], rel=1e-5)
    rows = read(RUN / "predict/predictions.csv")
    assert [row["target"] for row in rows] == [str(label) for label in labels.tolist()]
    for name in table:
        np.testing.assert_allclose([float(row[name]) for row in rows], table[name], rtol=1e-4, atol=1e-4)
    session = onnxruntime.InferenceSession(RUN / "export/model.onnx")
    (exported,) = session.run(None, {"inputs": raw.numpy()})
    np.testing.assert_allclose(exported, table.to_numpy(), rtol=1e-3, atol=1e-4)


def test_a_resumed_run_ends_as_one_without_an_interruption(kindling: Run) -> None:
    quick = ["--figures.enabled", "false", "--model.schedule", "Constant", "--trainer.max_epochs"]
    assert kindling(*FIT, *quick, 2).code == 0
    assert kindling(*FIT, *quick, 1).code == 0
    assert kindling("fit", "--resume", "latest", "--trainer.max_epochs", 2).code == 0
    one, other = (
        torch.load(RUN.with_name(name) / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for name in ("version_0", "version_1")
    )
    assert all(torch.equal(one[key], other[key]) for key in one)


def save(path: str, **arrays: Any) -> str:
    np.savez(path, **arrays)
    return path


UNLABELLED = ["--data.kind", "unlabelled"]
ARRAYS = ["fit", "--model", "Autoencoder", "--data", "Arrays", "--data.path", "a.npz", *QUICK]


@pytest.mark.parametrize("x", [VECTORS, PHOTOS], ids=["vectors", "images"])
def test_arrays_without_labels(x: np.ndarray, kindling: Run) -> None:
    save("a.npz", x_train=x)
    assert_refused(kindling(*ARRAYS), "there is no y_train; it has x_train; for inputs alone: --data.kind unlabelled")
    finished = kindling(*ARRAYS, *UNLABELLED, "--data.batch_size", 8)
    assert finished.code == 0, finished.err
    assert "without targets" in finished.out
    assert kindling("predict", "--run", "latest").code == 0
    rows = read(next(Path("lightning_logs").glob("*/version_0/predict/predictions.csv")))
    assert list(rows[0])[:2] == ["input", "latent_0"]
    assert len(rows) == round(0.2 * len(x))
    assert kindling("predict", "--run", "latest", "--input", "a.npz").out.startswith(f"{len(x)} of {len(x)} inputs")


def test_labels_that_are_there_are_left_out_aloud(kindling: Run) -> None:
    save("a.npz", x_train=VECTORS, y_train=np.arange(60) % 2, classes=np.array(["a", "b"]))
    finished = kindling(*ARRAYS, *UNLABELLED)
    assert finished.code == 0, finished.err
    assert "a.npz has arrays that are not used: classes, y_train" in finished.out


def test_a_model_of_classes_needs_labels(kindling: Run) -> None:
    save("a.npz", x_train=VECTORS)
    flags = ["fit", "--model", "MLP", "--data", "Arrays", "--data.path", "a.npz", *UNLABELLED]
    assert_refused(kindling(*flags), "classes and targets are empty: a model needs the names of one or the other")


def test_a_resume_on_other_samples_is_refused(kindling: Run) -> None:
    save("a.npz", x_train=VECTORS)
    assert kindling(*ARRAYS, *UNLABELLED).code == 0
    save("a.npz", x_train=VECTORS[:50])
    refused = kindling("fit", "--resume", "latest", "--trainer.max_epochs", 3)
    assert refused.code == 2
    assert "the data has changed since the split" in refused.err or "is not what" in refused.err


@pytest.mark.parametrize("folder", ["photos", "photos/deep/er", "photos/train"])
def test_images_without_classes(folder: str, kindling: Run) -> None:
    Path(folder).mkdir(parents=True)
    for index, pixels in enumerate(PHOTOS):
        Image.fromarray(pixels).save(f"{folder}/{index}.png")
    flags = ["--data", "ImageFolder", "--data.path", "photos", "--data.image_size", 12, "--data.batch_size", 8]
    unlabelled = kindling("fit", "--model", "Autoencoder", *flags, *QUICK, "--data.labelled", "false")
    assert unlabelled.code == 0, unlabelled.err
    assert "left out" not in unlabelled.out.replace("note   left out, with", "")
    assert "3×12×12 without targets; 26 train, 6 val, 8 test" in unlabelled.out
    assert kindling("predict", "--run", "latest", "--input", folder).code == 0


def test_loose_images_are_refused_with_the_flag_that_takes_them(kindling: Run) -> None:
    Path("photos").mkdir()
    Image.fromarray(PHOTOS[0]).save("photos/a.png")
    flags = ["fit", "--model", "Autoencoder", "--data", "ImageFolder", "--data.path", "photos"]
    assert_refused(
        kindling(*flags), "expected photos/<class>/<image>; for images without classes: --data.labelled false"
    )


@pytest.mark.parametrize("arguments", [{"latent": 0}, {"widths": []}, {"widths": [0]}])
def test_sizes_that_can_not_be_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="latent is .* and widths is .*: expected positive numbers"):
        Autoencoder(input_shape=(4,), **arguments)


@pytest.mark.parametrize("shape", [(4,), (1, 8, 8), (3, 7, 10)])
def test_an_autoencoder_gives_inputs_anew_and_learns(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    model = Autoencoder(input_shape=shape, latent=5, widths=[8, 16])
    inputs = torch.randn(12, *shape, generator=torch.Generator().manual_seed(0))
    made, latent = model(inputs)
    assert made.shape == inputs.shape
    assert latent.shape == (12, 5)
    model.task.loss_of((made, latent), inputs).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    first = float(model.task.loss_of(model(inputs), inputs).detach())
    for _ in range(100):
        optimizer.zero_grad()
        loss = model.task.loss_of(model(inputs), inputs)
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.6 * first
