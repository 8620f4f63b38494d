"""Which metric a training goes by, and whether lower or higher is better."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from kindling.core.errors import UsageError
from kindling.run.monitor import Monitor, mode_of, monitored, refuse_unlogged, take_up_state
from kindling.train.callbacks import Checkpoint, EarlyStopping


def trainer(*logged: str, module: Any = None, **more: Any) -> Any:
    metrics = {name: torch.tensor(1.0) for name in logged}
    module = module or SimpleNamespace()
    return SimpleNamespace(
        callback_metrics=metrics, lightning_module=module, callbacks=[], lr_scheduler_configs=[], **more
    )


@pytest.mark.parametrize(
    ("logged", "found"),
    [
        (["val_loss", "val/loss", "val_acc"], "val/loss"),
        (["val_acc", "val_loss", "train_loss"], "val_loss"),
        (["val_loss/dataloader_idx_1", "val_loss/dataloader_idx_0"], "val_loss/dataloader_idx_0"),
        (["val/loss/dataloader_idx_0", "val_loss"], "val_loss"),
        (["train/loss", "val_acc"], None),
        ([], None),
    ],
)
def test_without_a_wish_it_is_the_loss_of_the_validation(logged: list[str], found: str | None) -> None:
    assert monitored(trainer(*logged)) == (Monitor(found, "min") if found else None)


def test_the_modules_own_wish_comes_before_it_and_the_users_before_both() -> None:
    module = SimpleNamespace(monitor="val_acc")
    given = trainer("val_loss", "val_acc", "val_f1", module=module)
    assert monitored(given) == Monitor("val_acc", "max")
    assert monitored(given, "val_f1") == Monitor("val_f1", "max")
    assert monitored(given, mode="min") == Monitor("val_acc", "min")
    assert monitored(trainer("val_loss", module=module)) is None  # it is not logged, and no other is taken for it
    assert monitored(trainer("val_acc/dataloader_idx_0", module=module)) == Monitor("val_acc/dataloader_idx_0", "max")
    assert monitored(trainer("val_loss", module=SimpleNamespace(monitor=print))) == Monitor("val_loss", "min")


@pytest.mark.parametrize(
    "name", ["val/loss", "loss", "val_mae", "RMSE", "calibration_error", "nll", "train_perplexity"]
)
def test_of_errors_the_lower_is_better(name: str) -> None:
    assert mode_of(name) == "min"
    assert mode_of(f"{name}/dataloader_idx_3") == "min"


@pytest.mark.parametrize(
    "name", ["val/accuracy", "val_acc", "BinaryAUROC", "mIoU", "dice", "F1Score", "episode_return"]
)
def test_of_scores_the_higher_is_better(name: str) -> None:
    assert mode_of(name) == "max"
    assert mode_of(f"{name}/dataloader_idx_0") == "max"


@pytest.mark.parametrize("name", ["val/elbo", "val_acc1", "val_loss_total", "lossy"])
def test_of_others_nothing_is_guessed(name: str) -> None:
    message = (
        f"nothing says whether a lower or a higher {name} is better: set checkpoint.mode and early_stopping.mode to"
    )
    with pytest.raises(UsageError, match=message):
        mode_of(name)
    assert monitored(trainer(name), name, "max") == Monitor(name, "max")


def refused(given: Any, *callbacks: Any, of_validation: bool) -> str | None:
    given.callbacks = callbacks
    try:
        refuse_unlogged(given, of_validation)
    except UsageError as error:
        return str(error)
    return None


def test_a_metric_that_is_not_logged_is_refused_when_it_should_be() -> None:
    given = trainer("val_loss", "val_acc", "train/loss")
    misspelt, other = EarlyStopping("val_los"), EarlyStopping("reward")
    told = "EarlyStopping monitors {}, which is never logged; logged metrics: val_acc, val_loss"
    assert refused(given, misspelt, of_validation=True) == told.format("val_los")
    assert refused(given, misspelt, of_validation=False) is None
    assert refused(given, other, of_validation=True) is None  # it may be logged in the training
    assert refused(given, other, of_validation=False) == told.format("reward")
    assert refused(given, EarlyStopping("val_acc"), EarlyStopping(), of_validation=True) is None
    assert refused(trainer("val_acc/dataloader_idx_0"), EarlyStopping("val_acc"), of_validation=True) is None


def test_a_model_with_a_task_names_the_stage_of_each_metric() -> None:
    given = trainer("val/loss", module=SimpleNamespace(task=None))
    assert refused(given, EarlyStopping("val_loss"), of_validation=True) is not None
    assert refused(given, EarlyStopping("nothing"), of_validation=True) is not None
    assert refused(given, EarlyStopping("train/f1"), of_validation=True) is None


def test_what_a_module_names_as_its_monitor_is_checked_too() -> None:
    class Net(SimpleNamespace):
        pass

    given = trainer("val_loss", module=Net(monitor="val_los"))
    assert refused(given, of_validation=True) == "Net monitors val_los, which is never logged; logged metrics: val_loss"
    assert refused(trainer(module=Net(monitor="x")), of_validation=False) == (
        "Net monitors x, which is never logged; logged metrics: none"
    )


def taken(callback: Any, metric: str | None, **states: Any) -> Any:
    checkpoint = {"callbacks": states}
    take_up_state(checkpoint, callback, metric)
    return checkpoint["callbacks"].get(callback.state_key)


def test_the_state_of_an_older_checkpoint_is_taken_up() -> None:
    """Lightning's keys hold the metric."""
    old = "EarlyStopping{{'monitor': '{}', 'mode': '{}'}}"
    states = {old.format("val/f1", "max"): {"wait_count": 1}, old.format("val/loss", "min"): {"wait_count": 2}}
    wanted = {"wait_count": 2, "monitor": "val/loss", "mode": "min"}
    assert taken(EarlyStopping("val/loss"), "val/loss", **states) == wanted
    assert taken(EarlyStopping("val/auroc"), "val/auroc", **states) is None
    key = "Checkpoint{'monitor': 'val/loss', 'mode': 'min', 'every_n_train_steps': 0, 'train_time_interval': None}"
    state = taken(Checkpoint(), None, **{key: {"best_model_path": "best.ckpt", "monitor": "val/loss"}})
    assert (state["best_model_path"], state["monitor"], state["mode"]) == ("best.ckpt", "val/loss", "min")


def test_a_metric_that_was_found_can_be_named_later() -> None:
    state = {"wait_count": 3, "monitor": "val_loss", "mode": "min"}
    assert taken(EarlyStopping("val_loss"), "val_loss", EarlyStopping=state) == state
    assert taken(EarlyStopping("val_acc"), "val_acc", EarlyStopping=state) is None
    assert taken(EarlyStopping(), None, **{"EarlyStopping of val_loss": state}) == state
    assert taken(EarlyStopping(), None, EarlyStoppingOfAnother=state) is None
