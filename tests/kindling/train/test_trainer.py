"""The Trainer: a precision that suits the machine."""

from pathlib import Path

import lightning as L
import pytest
import torch
from simple_modules import QUIET, Plain, loader

from kindling.cli import main
from kindling.train.trainer import Trainer, has_fast_bfloat16


def machine(monkeypatch: pytest.MonkeyPatch, gpu: bool | None, **units: bool) -> None:
    """A machine with a GPU that has bfloat16, one that hasn't, or none, and a CPU with these units."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu is not None)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: gpu)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: units, raising=False)


@pytest.mark.parametrize(
    ("gpu", "units", "accelerator", "fast"),
    [
        (None, {"avx512_bf16": True}, "auto", True),
        (None, {"avx512_bf16": False, "amx_bf16": True}, "cpu", True),
        (None, {"avx512_bf16": False}, "auto", False),
        (None, {}, "auto", False),
        (True, {}, "auto", True),
        (True, {}, "cpu", False),
        (False, {"avx512_bf16": True}, "auto", False),
        (False, {"avx512_bf16": True}, "cpu", True),
        (None, {"avx512_bf16": True}, "tpu", False),
    ],
)
def test_bfloat16_is_fast_where_the_hardware_multiplies_in_it(
    gpu: bool | None, units: dict[str, bool], accelerator: str, fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, gpu, **units)
    assert has_fast_bfloat16(accelerator) is fast


def test_a_torch_that_does_not_know_its_cpu_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, None, avx512_bf16=True)
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert not has_fast_bfloat16()


@pytest.mark.parametrize(("fast", "precision"), [(True, "bf16-mixed"), (False, "32-true")])
def test_auto_chooses_and_the_header_says_what(
    fast: bool, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    machine(monkeypatch, None, avx512_bf16=fast)
    flags = ["--model", "MLP", "--data", "Digits", "--trainer.fast_dev_run", "true", "--trainer.precision"]
    main(["fit", *flags, "auto"])
    assert f"precision {precision} (auto), batch" in capsys.readouterr().out
    main(["fit", *flags, "32-true"])
    assert "precision 32-true, batch" in capsys.readouterr().out


def test_in_python_it_is_lightnings_trainer() -> None:
    trainer = Trainer(max_epochs=3, accelerator="cpu", precision="64-true", logger=False, enable_checkpointing=False)
    assert (trainer.max_epochs, trainer.precision, trainer.chose_precision) == (3, "64-true", False)


def test_environment_variables_are_read_as_by_lightning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_TRAINER_ACCELERATOR", "cpu")
    monkeypatch.setenv("PL_TRAINER_PRECISION", "bf16-mixed")
    monkeypatch.setenv("PL_TRAINER_MAX_EPOCHS", "3")
    trainer = Trainer(logger=False, max_epochs=2)
    assert (trainer.precision, trainer.max_epochs) == ("bf16-mixed", 2)


def test_lightnings_own_loop_can_be_had(tmp_path: Path) -> None:
    found = []
    for lean in (True, False):
        L.seed_everything(0)
        module = Plain()
        trainer = Trainer(lean_loop=lean, max_epochs=2, default_root_dir=tmp_path, **QUIET)
        trainer.fit(module, loader())
        assert trainer.fit_loop.epoch_loop.lean == lean  # type: ignore[attr-defined]
        found.append(module.state_dict())
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)


def test_a_wrapped_model_is_trained_by_lightnings_loop(tmp_path: Path) -> None:
    """One that somebody has put into the strategy, around the module."""

    class Wraps(L.Callback):
        def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
            trainer.strategy.model = torch.nn.ModuleList([module])

        def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
            trainer.strategy.model = module

    trainer = Trainer(max_epochs=1, callbacks=[Wraps()], default_root_dir=tmp_path, **QUIET)
    with pytest.raises(Exception, match="."):  # as by Lightning, which calls the wrapper's forward
        trainer.fit(Plain(), loader())
    assert not trainer.fit_loop.epoch_loop.lean  # type: ignore[attr-defined]
