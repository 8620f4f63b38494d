"""Turns what libraries say of settings that can't work into sentences that name the key and what would be right."""

import re
from collections.abc import Callable

from kindling.core.errors import origin
from kindling.core.parts import class_path_of, short_name
from kindling.core.settings import Setting

DURATION = "days:hours:minutes:seconds, such as 00:00:30:00 for half an hour"
EXTRAS = ("mlflow", "wandb")  # this project's extras, named like the packages that they bring
ENORMOUS = 10**6  # numbers from here on are suspected where memory is too small


def _duration(found: re.Match[str], settings: list[Setting]) -> str:
    given = next(filter(None, found.groups()))
    place = next((f"{source}: {key}" for source, key, value in reversed(settings) if str(value) == given), "a duration")
    return f"{place} is {given!r}: expected {DURATION}"


def _missing_package(found: re.Match[str], settings: list[Setting]) -> str:
    package = next(filter(None, found.groups()))
    install = f"pip install -e '.[{package}]'" if package in EXTRAS else f"pip install {package}"
    for source, key, value in reversed(settings):
        name = short_name(str(class_path_of(value)))
        if package.lower().partition("-")[0] in name.lower():
            return f"{source}: {key} is {name}, which needs a package that is not installed: {install}"
    return f"{package} is not installed: {install}"


def _largest_number(_: re.Match[str], settings: list[Setting]) -> str:
    return too_large(settings) or "the data or the model is larger than any machine can hold"


def too_large(settings: list[Setting]) -> str | None:
    """A sentence that names the largest number among the settings, if that is enormous."""
    numbers = [
        (int(digits), source, key)
        for source, key, value in settings
        if isinstance(value, int | str | list)
        for digits in re.findall(r"(?<![\w.])\d+(?![\w.])", str(value))
    ]
    largest, source, key = max(numbers, default=(0, "", ""))
    return f"{source}: {key} is {largest}, which is more than fits into memory" if largest >= ENORMOUS else None


Told = str | Callable[[re.Match[str], list[Setting]], str] | None
# What a library raises → what to tell instead; None for its own words.
SENTENCES: dict[str, Told] = {
    "strategy `fsdp` requires": "trainer.strategy fsdp needs a GPU: on a CPU --config configs/trainer/fsdp.yaml shares "
    "weights out, by ModelParallelStrategy",
    "not used in producing the loss": "some parameters got no gradient, and strategy ddp waits for it: use all of them "
    "in the loss, freeze them, or choose --trainer.strategy ddp_find_unused_parameters_true",
    "required to override the `configure_model": "ModelParallelStrategy needs a module that says in configure_model "
    "what is shared out, as each Model does: choose --trainer.strategy ddp for this one",
    "gpu backend|CUDAAccelerator": "trainer.accelerator asks for a GPU, but torch finds none: set it to auto or cpu",
    "more than 1 value per channel": "batch normalisation needs more than one sample per batch: raise data.batch_size",
    "at least two samples to calculate r2": "R² needs at least two samples in each split: the data is too small",
    "least populated class|test_size|n_samples": "the data is too small for its splits (data.val_fraction, "
    "data.test_fraction): every class needs some samples in each",
    "Tried to step": "model.schedule is shorter than the run: give it as many steps as the run has",
    "clipping is not supported for manual": "trainer.gradient_clip_val is only for automatic optimisation: a module "
    "that optimises manually clips with self.clip_gradients before its steps",
    "accumulation is not supported for manual": "trainer.accumulate_grad_batches is only for automatic optimisation: a "
    "module that optimises manually decides itself when to step",
    "`train_dataloader` must be implemented": "the model has no train_dataloader, and no data is given: name some with "
    "--data",
    r"Timer\(duration='(.+?)'\)": _duration,
    r"^Requirement '?([\w-]+)|must have \w+ installed.*pip install (?:-U )?([\w-]+)": _missing_package,
    "`psutil` is not installed": "trainer.callbacks: DeviceStatsMonitor needs a package that is not installed: pip "
    "install psutil",
    "Overflow when unpacking|overflowed|multiplication overflow|failed to unpack the object": _largest_number,
    r"Error\(s\) in loading state_dict|Invalid device string": None,
    "val_check_interval|conditioned on metric|no(t a)? finite number": None,
}


def is_setting(error: BaseException) -> bool:
    """Whether a library's error comes from a setting, rather than from code, whose author needs the traceback."""
    return any(re.search(pattern, str(error)) for pattern in SENTENCES)


def sentence(error: BaseException, settings: list[Setting]) -> str:
    """What to tell the user about an error: one sentence, with the key and its place if the error names a value."""
    words = " ".join(str(origin(error)).split()).partition(" HINT")[0]
    for pattern, better in SENTENCES.items():
        if better and (found := re.search(pattern, words)):
            return better if isinstance(better, str) else better(found, settings)
    named = re.match(r"(\w+) is ", words)
    for source, key, _ in reversed(settings):
        if named and named[1] == key.rpartition(".")[2]:
            return f"{source}: {key.removesuffix(named[1])}{words}"
    return words
