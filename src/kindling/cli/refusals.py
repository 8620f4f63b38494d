"""Settings that can't work, and what libraries say of them, in sentences that name the key and what would be right."""

import re

from jsonargparse import Namespace

from kindling.core.errors import UsageError, origin
from kindling.core.parts import imported
from kindling.core.settings import Setting, settings_in

# What a library raises → what to tell instead; None for its own words.
SENTENCES = {
    "gpu backend|CUDAAccelerator": "trainer.accelerator asks for a GPU, but torch finds none: set it to auto or cpu",
    "more than 1 value per channel": "batch normalisation needs more than one sample a batch: raise data.batch_size",
    "at least two samples to calculate r2": "R² needs at least two samples in each split: the data is too small",
    "least populated class|test_size|n_samples": "the data is too small for its splits (data.val_fraction, "
    "data.test_fraction): every class needs some samples in each",
    "Tried to step": "model.schedule is shorter than the run: give it as many steps as the run has",
    "val_check_interval|conditioned on metric|no finite numbers": None,
}


def check_config(config: Namespace, from_data: tuple[str, ...]) -> None:
    """Refuse settings that Lightning would stumble over later, or that the data decides, with a UsageError."""
    trainer, seed = config.trainer, config.seed_everything
    for name in from_data:
        if config.model.init_args.get(name) not in (None, False):
            raise UsageError(f"model.{name} comes from the data: leave it out")
    for key, value in settings_in(config.as_dict()):
        path = value.get("class_path", "") if isinstance(value, dict) else ""
        if callable(found := imported(path)) and not isinstance(found, type):  # which the parser would call
            raise UsageError(f"{key} is {path!r}: expected a class")
    if trainer.overfit_batches:
        raise UsageError("trainer.overfit_batches needs loaders of single samples: use trainer.limit_train_batches")
    for key in ("max_epochs", "max_steps", "limit_train_batches"):
        if trainer[key] == 0:
            raise UsageError(f"trainer.{key} is 0: nothing would be trained")
    if trainer.accumulate_grad_batches < 1:
        raise UsageError(f"trainer.accumulate_grad_batches is {trainer.accumulate_grad_batches}: expected at least 1")
    if (trainer.gradient_clip_val or 0) < 0:
        raise UsageError(f"trainer.gradient_clip_val is {trainer.gradient_clip_val}: expected a positive norm, or null")
    if not 0 <= seed < 2**32:
        raise UsageError(f"seed_everything is {seed}: expected an integer from 0 to {2**32 - 1}")


def is_setting(error: Exception) -> bool:
    """Whether an error of a library comes from a setting rather than from code, whose traceback its author needs."""
    return any(re.search(pattern, str(error)) for pattern in SENTENCES)


def sentence(error: BaseException, settings: list[Setting]) -> str:
    """What to tell a user of an error: one sentence, with the key and where it stands if the error names a value."""
    words = " ".join(str(origin(error)).split()).partition(" HINT")[0]
    for pattern, better in SENTENCES.items():
        if better and re.search(pattern, words):
            return better
    named = re.match(r"(\w+) is ", words)
    for source, key, _ in reversed(settings):
        if named and named[1] == key.rpartition(".")[2]:
            return f"{source}: {key.removesuffix(named[1])}{words}"
    return words
