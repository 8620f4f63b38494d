"""What libraries say of settings that can't work, in sentences that name the key and what would be right."""

import re

from kindling.core.errors import origin
from kindling.core.settings import Setting

# What a library raises → what to tell instead; None for its own words.
SENTENCES = {
    "gpu backend|CUDAAccelerator": "trainer.accelerator asks for a GPU, but torch finds none: set it to auto or cpu",
    "more than 1 value per channel": "batch normalisation needs more than one sample a batch: raise data.batch_size",
    "at least two samples to calculate r2": "R² needs at least two samples in each split: the data is too small",
    "least populated class|test_size|n_samples": "the data is too small for its splits (data.val_fraction, "
    "data.test_fraction): every class needs some samples in each",
    "Tried to step": "model.schedule is shorter than the run: give it as many steps as the run has",
    "clipping is not supported for manual": "trainer.gradient_clip_val is for automatic optimisation: a module that "
    "optimises manually clips with self.clip_gradients before its steps",
    "accumulation is not supported for manual": "trainer.accumulate_grad_batches is for automatic optimisation: a "
    "module that optimises manually steps when it likes",
    "`train_dataloader` must be implemented": "the model has no train_dataloader, and there is no data: name some with "
    "--data",
    r"Error\(s\) in loading state_dict": None,
    "val_check_interval|conditioned on metric|no finite number": None,
}


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
