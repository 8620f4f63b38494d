import optuna
import pytest

from kindling.core.errors import UsageError
from kindling.study.space import Space, as_kept, parameters, plain

PART = {
    "choice": {"MLP": {"model.dropout": {"float": [0, 0.5]}, "model.norm": {"choice": ["batch", None]}}, "CNN": None}
}


def keys_and_values(combination) -> dict:
    return {dimension.key: value for dimension, value in combination}


def test_a_trial_has_a_value_of_each_kind() -> None:
    content = {
        "model.optimizer.lr": {"log": ["1e-4", 1e-1]},  # YAML takes 1e-4 for a text
        "model.dropout": {"float": [0, 0.5], "step": 0.25},
        "data.batch_size": {"int": [16, 64], "step": 16},
        "model.hidden_sizes": {"choice": [[64], [256, 128]]},
        "model.norm": {"choice": ["batch", None]},
    }
    space = Space(content, "space.yaml")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(20):
        values = keys_and_values(space.suggest(study.ask()))
        assert list(values) == list(content)
        assert 1e-4 <= values["model.optimizer.lr"] <= 1e-1
        assert values["model.dropout"] in (0, 0.25, 0.5)
        assert values["data.batch_size"] in (16, 32, 48, 64)
        assert values["model.hidden_sizes"] in ("[64]", "[256, 128]")
        assert values["model.norm"] in ("batch", None)


def test_a_key_holds_only_for_the_part_that_it_is_below() -> None:
    space = Space({"data.batch_size": {"choice": [16]}, "model": PART}, "space.yaml")
    assert space.keys == {"data.batch_size", "model", "model.dropout", "model.norm"}
    mlp = space.of({"data.batch_size": 16, "model": "MLP", "model.dropout": 0.1, "model.norm": None})
    assert space.flags(mlp) == ["--model=MLP", "--data.batch_size=16", "--model.dropout=0.1", "--model.norm=null"]
    cnn = space.of({"data.batch_size": 16, "model": "CNN"})
    assert space.flags(cnn) == ["--model=CNN", "--data.batch_size=16"]
    assert space.settings(cnn) == [("space.yaml", "model", "CNN"), ("space.yaml", "data.batch_size", 16)]


def test_a_choice_comes_back_as_it_was_given() -> None:
    for value in ([64], {"a": [1, None]}, "relu", "{epoch}.ckpt", "[a", None, True, 3, 0.5):
        assert plain(as_kept(value)) == value


def test_a_key_of_two_parts_is_two_parameters() -> None:
    content = {"model": {"choice": {name: {"model.width": {"choice": [size]}} for name, size in (("A", 1), ("B", 2))}}}
    space = Space(content, "space.yaml")
    assert [parameters(values) for values in space.grid()] == [
        {"model": "A", "model.width (A)": 1},
        {"model": "B", "model.width (B)": 2},
    ]
    assert space.flags(space.of({"model": "B", "model.width (B)": 2})) == ["--model=B", "--model.width=2"]


def test_a_grid_is_every_combination() -> None:
    part = {"choice": {"MLP": {"model.norm": {"choice": ["batch", None]}}, "CNN": None}}
    space = Space({"model": part, "a": {"int": [1, 2]}, "b": {"float": [0, 0.3], "step": 0.1}}, "space.yaml")
    grid = [parameters(values) for values in space.grid()]
    assert len(grid) == (2 + 1) * 2 * 4
    assert [combination["b"] for combination in grid[:4]] == pytest.approx([0, 0.1, 0.2, 0.3])
    assert {(each["model"], each.get("model.norm", "–")) for each in grid} == {
        ("MLP", "batch"), ("MLP", None), ("CNN", "–")
    }  # fmt: skip
    with pytest.raises(UsageError, match=r"^space.yaml: a: log has infinitely many values: for a grid, use choice$"):
        Space({"a": {"log": [1, 2]}}, "space.yaml").grid()


def test_the_examples_have_every_choice_and_both_ends() -> None:
    space = Space({"model": PART, "a": {"log": [1, 9]}}, "space.yaml")
    seen: dict[str, set] = {}
    for values in space.examples():
        assert len(keys_and_values(values)) == len(values)
        assert ("model.dropout" in keys_and_values(values)) == (keys_and_values(values)["model"] == "MLP")
        for key, value in keys_and_values(values).items():
            seen.setdefault(key, set()).add(value)
    assert seen == {"model": {"MLP", "CNN"}, "model.dropout": {0, 0.5}, "model.norm": {"batch", None}, "a": {1, 9}}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            [1, 2],
            " is [1, 2]: expected the values that it can take, such as {log: [1e-4, 1e-1]} or {choice: [relu, gelu]}",
        ),
        ({"lgo": [1, 2]}, " has lgo: expected one of log, float, int, choice, such as {log: [1e-4, 1e-1]} or"),
        ({"lr": {"log": [1, 2]}}, "; a key is written in full, such as key.lr"),
        ({}, " has nothing: expected one of log, float, int, choice"),
        ({"log": [1, 2], "int": [1, 2]}, " has log, int: expected one of"),
        ({"choice": []}, ": choice is []: expected a list of values, such as [relu, gelu]"),
        ({"choice": "relu"}, ": choice is 'relu': expected a list of values"),
        ({"choice": [1, 1]}, ": choice has the same value twice: 1, 1"),
        ({"choice": [1, 2], "step": 1}, ": a choice has no step"),
        ({"choice": {1: None}}, ": choice is {1: None}: expected names"),
        ({"choice": {"MLP": 3}}, ": MLP has 3 below it: expected settings that hold only for it"),
        ({"float": [0.5, 0]}, ": float is [0.5, 0]: the lower end comes first"),
        ({"log": [0, 1]}, ": log is [0, 1]: expected numbers above 0"),
        ({"float": [1]}, ": float is [1]: expected two numbers, such as [1e-4, 1e-1]"),
        ({"float": ["a", 1]}, ": float is ['a', 1]: expected two numbers"),
        ({"int": [1, 2.5]}, ": int is [1, 2.5]: expected two whole numbers, such as [1, 8]"),
        ({"float": [0, 1], "step": 0}, ": step is 0: expected a number above 0 for int or float"),
        ({"log": [1, 2], "step": 1}, ": step is 1: expected a number above 0 for int or float"),
    ],
)
def test_what_is_refused(value, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        Space({"key": value}, "space.yaml")
    assert str(refused.value).startswith("space.yaml: key")
    assert message in str(refused.value)


def test_what_a_study_goes_by_is_not_searched() -> None:
    with pytest.raises(UsageError, match="checkpoint.monitor: it says what runs are compared by: give it as a flag"):
        Space({"checkpoint.monitor": {"choice": ["val/loss", "val/f1"]}}, "space.yaml")
