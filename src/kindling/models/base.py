"""What all models share: sizes from the data, a task, a recipe, and the steps of training and evaluation."""

import inspect
import math
from typing import Any, Literal

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.memory import recursive_detach
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR
from torchmetrics import MetricCollection

from kindling.data.batches import batch_size_of
from kindling.data.preprocessing import form_of
from kindling.models.groups import parameter_groups, try_groups
from kindling.models.hyperparameters import Loadable, name_hyperparameters
from kindling.models.layers import initialize
from kindling.models.run_length import adapt_to_run_length
from kindling.models.schedules import Constant, WarmupCosine, fuse, try_recipe
from kindling.models.shares import own_share
from kindling.models.whole_batch import measured
from kindling.tasks import DEFAULT_TASKS, DefaultTask, Task
from kindling.tasks.base import TASK_FOR
from kindling.tasks.measures import WeightedMean

Batch = tuple[Tensor, ...]  # inputs, then lengths if the inputs are padded sequences, then targets


class Model(Loadable):
    """Base of all models. A subclass builds its layers and defines `forward`: inputs (B, *input_shape) → (B, outputs).

    A `forward` with an argument `lengths` gets those of padded sequences, (B,); one that needs several arguments gets
    the inputs that the data has, such as an image and the row of a table. In Python, give `optimizer` and
    `schedule` as a class or a `functools.partial` of one, so that a checkpoint can name them.

    Args:
        input_shape: shape of one input, without the batch; on the command line it comes from the data.
        classes: names of the classes, if the data has classes; likewise from the data.
        targets: names of the numeric targets, if the data has those; likewise from the data.
        multilabel: whether a sample can have several classes; likewise from the data.
        vocabulary: number of different tokens, if the inputs are tokens; likewise from the data.
        task: what the outputs mean; by default Classification for classes and Regression for targets.
        optimizer: builds the optimiser from the parameters; it is fused where torch can fuse it.
        schedule: builds the learning-rate schedule from the optimiser; null (or `Constant`) for none.
        decay: which parameters the optimiser's weight decay applies to: all, or weights (no biases or norms).
        groups: options of the optimiser for some of the parameters, by a pattern for their names, such as
            {head: {lr: 1e-2}, '.*norm.*': {weight_decay: 0}}: a regular expression for the name of a parameter, or of
            a module for all in it; the first that matches wins.
        l1: weight of a penalty on the absolute weights, added to the loss; biases and norms are exempt.
        l2: weight of a penalty on the squared weights, likewise.
        init: how the layers are initialised: torch's way, or guide: see layers.initialize.
        compile: whether torch compiles `forward`, or in which of its modes: reduce-overhead for a small network on a
            GPU. It needs a C++ compiler and 20 s or more, and gains little on a CPU.

    Raises:
        ValueError: if an argument is out of range or does not fit the data.
    """

    from_data: tuple[str, ...] = ("input_shape", "classes", "targets", "multilabel", "vocabulary")
    takes: tuple[str, ...] = ("vectors", "sequences", "images")  # or tokens: the forms of inputs
    default_task: type[Task] | None = None  # unless another is chosen; None for what suits the data's targets
    preprocessing: dict[str, Any] | None = None  # of the data it was trained on: see Preprocessing

    def __init__(
        self,
        input_shape: tuple[int, ...],
        classes: list[str] | None = None,
        targets: list[str] | None = None,
        multilabel: bool = False,
        vocabulary: int | None = None,
        task: Task | None = None,
        optimizer: OptimizerCallable = lambda params: AdamW(params, lr=1e-3),
        schedule: LRSchedulerCallable = lambda optimizer: WarmupCosine(optimizer),
        decay: Literal["all", "weights"] = "all",
        groups: dict[str, dict[str, Any]] | None = None,
        l1: float = 0.0,
        l2: float = 0.0,
        init: Literal["torch", "guide"] = "torch",
        compile: bool | Literal["reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"] = False,
    ) -> None:
        super().__init__()
        wanted = "numeric targets" if targets else "several classes a sample" if multilabel else "one class a sample"
        self.task = (task or DefaultTask()).chosen(self.default_task or DEFAULT_TASKS[wanted])
        if min(l1, l2) < 0:
            raise ValueError(f"l1 is {l1} and l2 is {l2}: expected penalties of at least 0")
        self.input_shape, self.vocabulary = tuple(input_shape), vocabulary
        form = form_of(self.input_shape, tokens=bool(vocabulary))
        if form not in self.takes:
            takes = f"{type(self).__name__} takes {' or '.join(self.takes)}"
            raise ValueError(f"{takes}: the data has {form} {self.input_shape}")
        if not (classes or targets) and self.task.fits in TASK_FOR:
            instead = "; for tokens alone, use model.task NextToken" if vocabulary else ""
            raise ValueError(f"classes and targets are empty: a model needs the names of one or the other{instead}")
        self.task.input_shape, self.task.vocabulary = self.input_shape, vocabulary
        self.task.build(wanted, len(targets or classes or []))
        self.num_outputs = self.task.num_outputs
        self.notes: list[str] = []  # what a user should know of the model, shown before the training
        if optimizer is None:
            raise ValueError("optimizer is null: expected an optimiser, such as AdamW")
        self.optimizer, self.schedule = optimizer, Constant if schedule is None else schedule
        self.decay, self.l1, self.l2, self.init, self.compiles = decay, l1, l2, init, compile
        self.groups = dict(groups or {})
        arguments = inspect.signature(self.forward).parameters
        required = [name for name, each in arguments.items() if each.default is each.empty]
        self._needs_others = len(required) > 1  # besides the first input
        self._takes_others = len({*required, *({"lengths"} & arguments.keys())}) > 1
        try_recipe(optimizer, self.schedule)
        try_groups(optimizer, self.schedule, self.groups)
        self.save_hyperparameters(logger=False)
        if "_class_path" not in self.hparams:  # built in Python rather than by the command line
            name_hyperparameters(self)

    def initialize(self) -> None:
        """Set the layers' first weights as `init` says; a subclass calls it at the end of its constructor."""
        if self.init == "guide":
            self.apply(initialize)
        parameter_groups(self, self.groups, self.decay)  # a pattern that matches nothing is refused here
        self.to(memory_format=torch.channels_last)  # a ResNet trains in three quarters of the time

    def setup(self, stage: str) -> None:
        if self.compiles:
            mode = None if self.compiles is True else self.compiles
            self.compile(mode=mode)  # in place: checkpoints are the same with and without it

    def configure_model(self) -> None:
        """Share the weights out over the processes, with ModelParallelStrategy; a subclass can do it in another way."""
        if self.device_mesh is not None:
            from kindling.models.sharding import shard  # not every build of torch has it

            shard(self, self.device_mesh)

    @property  # type: ignore[misc]
    def example_input_array(self) -> Tensor | None:  # type: ignore[override]
        """Two inputs of zeros, for the summary's sizes; None where `forward` needs more than one input per sample."""
        if self._needs_others:
            return None
        return torch.zeros(2, *self.input_shape).to(torch.long if self.vocabulary else self.dtype)

    num_parameters = property(lambda self: sum(parameter.numel() for parameter in self.parameters()))

    def configure_optimizers(self) -> Any:
        optimizer = fuse(self.optimizer(parameter_groups(self, self.groups, self.decay)))
        schedule = self.schedule(optimizer)
        interval = getattr(schedule, "interval", "step" if isinstance(schedule, CyclicLR | OneCycleLR) else "epoch")
        config = {"scheduler": schedule, "interval": interval, "name": "learning_rate"}
        if hasattr(schedule, "monitor"):
            config |= {"monitor": schedule.monitor, "strict": False}  # not every epoch ends with a validation
        return {"optimizer": optimizer, "lr_scheduler": config}

    def on_fit_start(self) -> None:
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if hasattr(data, "train_targets"):
            self.task.start(data)
            self.preprocessing = data.preprocessing.plain if data.has_arrays else None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["preprocessing"] = self.preprocessing

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.preprocessing = checkpoint.get("preprocessing")

    def on_train_start(self) -> None:
        adapt_to_run_length(self.trainer)  # for a plain lightning.Trainer; Kindling's does it again, without effect

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Step a schedule, unless it follows a metric: such a schedule steps below."""
        if metric is None:
            scheduler.step()

    def on_validation_end(self) -> None:
        """Step a schedule that follows a metric of the validation: its patience counts validations."""
        if self.trainer.state.fn == "fit" and not self.trainer.sanity_checking:
            self._step_plateaus(of_training=False)

    def on_train_epoch_end(self) -> None:
        """Step a schedule that follows a metric of the training."""
        self._step_plateaus(of_training=True)

    def _step_plateaus(self, of_training: bool) -> None:
        """Lightning would step them after an epoch's checkpoint, by a value that can be older than the epoch."""
        for config in self.trainer.lr_scheduler_configs:
            if not config.reduce_on_plateau or str(config.monitor).startswith("train/") != of_training:
                continue
            value = self.trainer.callback_metrics.get(str(config.monitor))
            if value is not None and not value.isnan():
                config.scheduler.step(value)  # type: ignore[arg-type]

    def outputs(self, batch: Any) -> Any:
        """Run `forward` on the inputs of a batch: (B, num_outputs), or what the task says."""
        inputs = self.task.inputs_of(batch)
        if not isinstance(inputs, tuple | list):
            return self(inputs)
        return self(*inputs) if self._takes_others else self(inputs[0])

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        outputs, targets = self.outputs(batch), self.task.targets_of(batch)
        loss = self.task.loss_of(outputs, targets)
        if self.is_logged(batch_idx):
            values = measured(self.task, loss.detach(), recursive_detach(outputs), targets)
            self.log("train/loss", values.pop("train/loss"), prog_bar=True)
            self.log("learning_rate", self.trainer.optimizers[0].param_groups[0]["lr"])
            self.log_dict(values)
        return loss + self.penalty() if self.l1 or self.l2 else loss

    def penalty(self) -> Tensor:
        """l1 · Σ|w| + l2 · Σw² over the weights, or this process's share of them: no biases, no norms."""
        weights = nn.utils.parameters_to_vector(own_share(each) for each in self.parameters() if each.dim() > 1)
        return self.l1 * weights.abs().sum() + self.l2 * weights.square().sum()

    def is_logged(self, batch_idx: int) -> bool:
        """Whether this step reaches the logger: logging costs as much as a small network's step, so few steps do."""
        trainer: Any = self.trainer
        due = (trainer.global_step + 1) % (trainer.log_every_n_steps or math.inf) == 0
        return due and ((batch_idx + 1) % trainer.accumulate_grad_batches == 0 or trainer.is_last_batch)

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        return self._evaluate(batch, self.task.val_metrics, self.task.val_loss)

    def on_validation_epoch_end(self) -> None:
        self._log_metrics("val", self.task.val_metrics, self.task.val_loss)

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        return self._evaluate(batch, self.task.test_metrics, self.task.test_loss)

    def on_test_epoch_end(self) -> None:
        self._log_metrics("test", self.task.test_metrics, self.task.test_loss)

    def _evaluate(self, batch: Batch, metrics: MetricCollection, loss: WeightedMean) -> dict[str, Tensor]:
        outputs, targets = self.outputs(batch), self.task.targets_of(batch)
        if isinstance(self.compiles, str) and self.device.type == "cuda":
            # The next batch's overwrite those that a CUDA graph has written.
            outputs = apply_to_collection(outputs, Tensor, torch.clone)
        scores = self.task.scores(outputs)
        metrics.update(scores, targets)
        weight = self.task.loss_weight(targets)
        loss.update(self.task.loss_of(outputs, targets), batch_size_of(targets) if weight is None else weight)
        return {"scores": scores, "predictions": self.task.decode(scores), "targets": targets}

    def _log_metrics(self, stage: str, metrics: MetricCollection, loss: WeightedMean) -> None:
        measured = {f"{stage}/loss": loss.compute(), **dict(sorted(metrics.compute().items()))}
        self.task.take_notes(metrics)
        for number, (name, value) in enumerate(measured.items()):
            self.log(name, value.float(), prog_bar=number < 2)  # shows the loss and the task's first metric
        metrics.reset()
        loss.reset()
