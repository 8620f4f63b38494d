"""Lightning's Trainer with a leaner step, loaders that go on exactly, and a precision that suits the machine."""

import math
import os
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.accelerators import Accelerator, CUDAAccelerator
from lightning.pytorch.utilities.argparse import _defaults_from_env_vars
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from kindling.train.loaders import Loaders
from kindling.train.loop import LeanLoop
from kindling.train.several_processes import refuse_sync_on_cpu

# The values that Lightning takes, and auto.
Precision = Literal[
    "auto", "32-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true", "64-true",
    "transformer-engine", "transformer-engine-float16", "16", "32", "64", "bf16", 16, 32, 64,
]  # fmt: skip


class Trainer(L.Trainer):
    """Lightning's Trainer, faster (see kindling.train.loop), with an exact resume (see kindling.train.loaders).

    Args:
        precision: see Lightning; or auto for bf16-mixed where the hardware is fast with it, and 32-true elsewhere.
        tf32: whether a GPU multiplies float32 in TF32: up to eight times as fast, with 10 of the 23 mantissa bits.
        accelerator: see Lightning.
        lean_loop: whether to use Kindling's shorter training step wherever it does the same as Lightning's.
        **trainer: max_epochs, devices, gradient_clip_val …: see Lightning.
    """

    @_defaults_from_env_vars
    def __init__(
        self,
        precision: Precision | None = None,
        tf32: bool = True,
        accelerator: str | Accelerator = "auto",
        lean_loop: bool = True,
        **trainer: Any,
    ) -> None:
        self.chose_precision, self.lean_loop = precision == "auto", lean_loop
        if precision == "auto":
            precision = "bf16-mixed" if has_fast_bfloat16(accelerator) else "32-true"
        super().__init__(accelerator=accelerator, precision=precision, **trainer)
        refuse_sync_on_cpu(self, bool(trainer.get("sync_batchnorm")))
        self.tf32 = tf32 and isinstance(self.accelerator, CUDAAccelerator)
        if isinstance(self.accelerator, CUDAAccelerator):
            os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # or each optimiser step would count the devices anew
            if not tf32 or torch.get_float32_matmul_precision() == "highest":  # else the user may have chosen even less
                torch.set_float32_matmul_precision("high" if tf32 else "highest")
            torch.backends.cudnn.allow_tf32 = tf32
        self.fit_loop.epoch_loop = LeanLoop(self.fit_loop.epoch_loop)
        self.loaders = Loaders(self)

    @property
    def described_precision(self) -> str:
        """The precision, whether the trainer chose it, and whether float32 is multiplied in TF32."""
        return self.precision + " (auto)" * self.chose_precision + ", float32 by TF32" * self.tf32

    @property
    def estimated_stepping_batches(self) -> int | float:
        """Lightning's: the number of optimiser steps of the run, as far as it is known.

        Raises:
            MisconfigurationException: if a module's `configure_optimizers` asks for it and it is not known: a schedule
                would take -1 or infinity as its length.
        """
        steps = super().estimated_stepping_batches
        module = self.lightning_module
        if module is not None and module._current_fx_name == "configure_optimizers" and not 0 <= steps < math.inf:
            asks = f"{type(module).__name__}.configure_optimizers asks for trainer.estimated_stepping_batches"
            raise MisconfigurationException(f"{asks}, but the length of this run is not known: set trainer.max_steps")
        return steps


def has_fast_bfloat16(accelerator: str | Accelerator = "auto") -> bool:
    """Whether the GPU, or else the CPU, multiplies in bfloat16: convolutions twice as fast, with float32's range."""
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return accelerator in ("auto", "cpu") and any(known.get(unit) for unit in ("avx512_bf16", "amx_bf16"))
