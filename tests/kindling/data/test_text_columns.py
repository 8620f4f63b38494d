"""Columns of text: the weights of words that scikit-learn gives, in training and ever after; tables without a target."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import QUICK, Result, assert_refused
from sklearn.feature_extraction.text import TfidfVectorizer

from kindling import load
from kindling.data.table import Table
from kindling.run.checkpoint_files import load_checkpoint

Run = Callable[..., Result]
FILLER = ["the", "story", "of", "a", "town", "whose", "people", "were", "at", "the", "café"]
MOODS = {"good": ["great", "lovely", "superb", "happy"], "bad": ["awful", "dull", "boring", "sad"]}
MLP = ["fit", "--model", "MLP", "--model.hidden_sizes", "[8]", "--data", "Table", "--data.path", "a.csv"]
MLP += ["--data.batch_size", "16", "--model.schedule", "null", *QUICK]
TEXT = ["--data.target", "mood", "--data.text", "[review]"]


def reviews(size: int = 120) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    rows = []
    for number in range(size):
        mood = "bad" if number % 2 else "good"
        words = [*generator.choice(FILLER, 6), *generator.choice(MOODS[mood], 2)]
        rows.append({"review": " ".join(generator.permutation(words)), "minutes": 60 + number % 90, "mood": mood})
    table = pd.DataFrame(rows)
    table.loc[[3, 40], "review"] = None
    table.loc[5, "review"] = "Ha! 7"
    return table


def table(tmp_path: Path, known: pd.DataFrame, **arguments: Any) -> Table:
    known.to_csv(tmp_path / "a.csv", index=False)
    return Table(str(tmp_path / "a.csv"), **{"target": "mood", "text": ["review"], **arguments})


@pytest.mark.parametrize("limit", [5, 1000])
def test_weights_are_those_of_scikit_learn(limit: int, tmp_path: Path) -> None:
    known = reviews()
    data = table(tmp_path, known, max_words=limit)
    texts = known["review"].fillna("")
    vectorizer = TfidfVectorizer(max_features=limit).fit(texts.iloc[data.splits["train"].numpy()])
    expected = vectorizer.transform(texts).toarray().astype(np.float32)
    data.setup("fit")
    found = torch.cat([data.sets[split][slice(None)][0] for split in data.splits])  # type: ignore[index]
    order = torch.cat(list(data.splits.values()))
    np.testing.assert_array_equal(found[:, :-1], expected[order])
    assert len(expected[0]) == min(limit, 18)
    (column, _) = data.preprocessing.columns or []
    assert column["words"] == vectorizer.get_feature_names_out().tolist()
    assert {type(weight) for weight in column["idf"]} == {float}


def test_texts_without_words_and_missing_ones_are_told(tmp_path: Path) -> None:
    known = reviews()
    held_out = int(table(tmp_path, known).splits["test"][0])
    known.loc[held_out, "review"] = "completely different vocabulary"
    data = table(tmp_path, known)
    assert not data.samples[0][[3, 40, held_out], :-1].any()
    assert "missing values: 2 (review 2)" in data.notes
    (told,) = [note for note in data.notes if note.startswith("texts without a word from the training")]
    assert told.split("(")[1] in ("review 1)", "review 2)")  # row 5 as well, if it is not of the training


def test_texts_that_nobody_has_named_are_told(tmp_path: Path) -> None:
    known = reviews()
    known["review"] = known["review"].where(known.index % 2 == 0, "the same text of six words")
    data = table(tmp_path, known, text=[])
    assert data.samples[0].shape[1] > 30
    told = [note for note in data.notes if note.startswith("column review")]
    assert len(told) == 1
    assert told[0].endswith("and is taken for categories; --data.text [review] takes their words")


@pytest.mark.slow
def test_the_commands(kindling: Run) -> None:
    known = reviews(300)
    known.to_csv("a.csv", index=False)
    assert kindling(*MLP, *TEXT, "--model.optimizer.lr", 0.02, "--name", "whole", "--trainer.max_epochs", 6).code == 0
    assert kindling(*MLP, *TEXT, "--model.optimizer.lr", 0.02, "--name", "cut", "--trainer.max_epochs", 3).code == 0
    run = Path("lightning_logs/cut/version_0")
    assert kindling("fit", "--resume", run, "--trainer.max_epochs", 6).code == 0
    whole, cut = (
        load_checkpoint(each / "checkpoints/last.ckpt") for each in (Path("lightning_logs/whole/version_0"), run)
    )
    torch.testing.assert_close(whole["state_dict"], cut["state_dict"], rtol=0, atol=0)
    assert kindling("test", "--run", run).code == 0
    assert json.loads((run / "results.json").read_text())["test"]["accuracy"] > 0.8
    assert kindling("predict", "--run", run).code == 0
    before = {row["input"]: row for row in csv.DictReader((run / "predict/predictions.csv").open())}
    known.drop(columns="mood").to_parquet("new.parquet")
    predicted = kindling("predict", "--run", run, "--input", "new.parquet")
    assert "missing values: 2 (review 2)" in predicted.out
    after = {row["input"]: row for row in csv.DictReader((run / "predict/predictions_new.csv").open())}
    for name, row in before.items():
        assert float(row["probability_bad"]) == pytest.approx(float(after[name]["probability_bad"]), abs=1e-6)
    asked = load(run)(pd.DataFrame({"review": ["superb, lovely!", "awful awful", ""], "minutes": [90, 90, 90]}))
    assert asked["prediction"].tolist()[:2] == ["good", "bad"]


def test_a_table_without_a_target(kindling: Run) -> None:
    reviews().to_csv("a.csv", index=False)
    flags = ["--data.kind", "unlabelled", "--data.text", "[review]", "--data.drop", "[mood]"]
    auto = ["fit", "--model", "Autoencoder", "--model.latent", 2, "--model.widths", "[8]", *MLP[5:], *flags]
    assert kindling(*auto, "--name", "latent").code == 0
    run = Path("lightning_logs/latent/version_0")
    assert kindling("test", "--run", run).code == 0
    assert kindling("predict", "--run", run).code == 0
    rows = list(csv.reader((run / "predict/predictions.csv").open()))
    assert rows[0] == ["input", "latent_0", "latent_1", "reconstruction_error", "error"]
    assert len(rows) == 25
    assert kindling(*MLP, *flags, "--model.task", "Reconstruction", "--name", "mlp").code == 0
    results = json.loads(Path("lightning_logs/mlp/version_0/results.json").read_text(encoding="utf-8"))
    assert results["test"]["mse"] > 0
    told = kindling(*MLP, *flags)
    assert told.code == 2
    assert "classes and targets are empty: a model needs the names of one or the other" in told.err


def test_a_target_that_is_not_used_is_told(tmp_path: Path) -> None:
    data = table(tmp_path, reviews(), kind="unlabelled")
    assert data.notes[0] == "target mood is left out, since data.kind is unlabelled"
    assert data.features == ["review", "minutes"]
    assert data.samples[1].shape == (120, 0)
    assert (data.classes, data.targets, data.class_counts) == (None, None, {})


def test_several_labels_in_a_column(tmp_path: Path) -> None:
    known = reviews().assign(mood=["a;b", "b", ";", " a ; c", "c"] * 24)
    data = table(tmp_path, known, label_separator=";")
    assert (data.classes, data.multilabel) == (["a", "b", "c"], True)
    assert data.samples[1][:5].tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0], [1, 0, 1], [0, 0, 1]]
    data = table(tmp_path, known, label_separator="|")
    assert "label_separator is '|', which is in no value of mood: each row has one class" in data.notes


REFUSED: dict[str, tuple[list[str], str]] = {
    "a text that nobody has named": (["--data.target", "mood"], "different values, such as 'Ha! 7': leave it out with data.drop, or take its words with data.text [review]"),
    "misspelt text": (["--data.target", "mood", "--data.text", "[reviw]"], "data.text is 'reviw', which is not a column of a.csv: review, minutes, mood"),
    "a text that is a category": ([*TEXT, "--data.categorical", "[review]"], "text is 'review', which is not an input, or is in categorical too: name it once"),
    "a text that is the target": ([*TEXT, "--data.text", "[mood]"], "text is 'mood', which is not an input"),
    "a column without words": (["--data.target", "mood", "--data.text", "[short, review]"], "column short has no word of two letters in the training split: leave it out with data.drop"),
    "no words": ([*TEXT, "--data.max_words", "0"], "data.max_words is 0: expected a positive number"),
    "no label": (["--data.target", "nothing", "--data.label_separator", ";"], "data.target is 'nothing', which has no label in any row"),
    "an empty separator": ([*TEXT, "--data.label_separator", ""], "data.label_separator is '': expected a character such as ';'"),
}  # fmt: skip


@pytest.mark.parametrize(("flags", "message"), REFUSED.values(), ids=REFUSED)
def test_a_mistake_is_told(flags: list[str], message: str, kindling: Run) -> None:
    known = reviews()
    if "[short, review]" in flags:
        known["short"] = "a"
    if "nothing" in flags:
        known["nothing"] = ";"
    known.to_csv("a.csv", index=False)
    limit = ["--data.max_categories", "20"]
    assert_refused(kindling(*MLP, *flags, *limit), message)
