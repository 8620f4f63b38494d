"""What of a command depends on what has started its processes."""

from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from conftest import Result

from kindling.cli import dispatch, fit
from kindling.cli.arguments import read_arguments
from kindling.cli.fit import refuse_unseen
from kindling.core.errors import UsageError
from kindling.core.launch import Launch
from kindling.core.processes import EndsWithOthers, Processes
from kindling.run.dashboard import Dashboard

FIT = [
    "fit", "--config", "configs/digits_mlp.yaml", "--trainer.accelerator", "cpu", "--trainer.limit_train_batches", 2,
    "--figures.enabled", "false", "--test", "false",
]  # fmt: skip
RUN = Path("lightning_logs/digits_mlp/version_0")
ONE_OF_TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": 1, "LOCAL_WORLD_SIZE": 1, "RANK": 0, "LOCAL_RANK": 0, "GROUP_RANK": 0,
}  # fmt: skip


def of_launch(**settings: int) -> Processes:
    processes = Processes()
    processes.launch = Launch("torchrun", settings={f"trainer.{name}": value for name, value in settings.items()})
    return processes


@pytest.mark.usefixtures("project")
def test_devices_and_nodes_come_from_the_launcher_unless_they_are_typed() -> None:
    argv = ["fit", "--config", "configs/digits_mlp.yaml", "--config", "configs/trainer/ddp.yaml"]
    arguments = read_arguments(argv, of_launch(devices=2, num_nodes=3))
    assert arguments.flags == ["--trainer.devices=2", "--trainer.num_nodes=3"]
    assert arguments.of_launch == {"trainer.devices": "auto", "trainer.num_nodes": None}  # without it
    arguments = read_arguments([*argv, "--trainer.devices", "4"], of_launch(devices=2))
    assert (arguments.flags, arguments.of_launch) == (["--trainer.devices", "4"], {})


class Seen(Dashboard):
    """Notes what is shown as chosen."""

    keys: list[str]

    def __init__(self, config: dict[str, Any], given: Iterable[str] = ()) -> None:
        Seen.keys = list(given)
        super().__init__(config, given)


def test_a_run_keeps_its_devices_when_a_launcher_goes_on_with_it(
    kindling: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert kindling(*FIT, "--trainer.max_epochs", 1).code == 0
    config = yaml.safe_load((RUN / "config.yaml").read_text())
    config["trainer"]["devices"] = 2
    (RUN / "config.yaml").write_text(yaml.safe_dump(config))
    for name, value in ONE_OF_TORCHRUN.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(fit, "Dashboard", Seen)
    resumed = kindling("fit", "--resume", RUN, "--trainer.max_epochs", 2)
    assert (resumed.code, resumed.err) == (0, "")
    assert "changed: trainer.max_epochs: 1 → 2\n" in resumed.out
    assert yaml.safe_load((RUN / "config.yaml").read_text())["trainer"]["devices"] == 2
    assert Seen.keys == ["trainer.max_epochs"]


def test_a_machine_that_does_not_see_the_run_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kindling.core.processes.OTHERS_HEAR", 0.05)
    alone, refused = Processes(), Processes()
    refused.code = UsageError.code
    refuse_unseen(str(tmp_path), alone)
    refuse_unseen(None, alone)
    where = "elsewhere, which the first process has made, can't be seen from .+ on .+: start all"
    with pytest.raises(UsageError, match=where):
        refuse_unseen(str(tmp_path / "elsewhere"), alone)
    with pytest.raises(EndsWithOthers):  # the first, which has refused a setting, has removed the run
        refuse_unseen(str(tmp_path / "elsewhere"), refused)


def test_several_processes_whose_reader_has_gone_end_as_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    def main(_: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(Processes, "refuse_several", lambda self, _: vars(self).update(number=2))
    monkeypatch.setattr(dispatch, "import_module", lambda _: SimpleNamespace(main=main))
    with pytest.raises(BrokenPipeError):  # for which kindling.cli.dispatch.main has an answer
        dispatch.run_command(["compare"])
