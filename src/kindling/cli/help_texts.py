"""What `--help` says first. tests/kindling/cli/test_help.py holds each line to the real parser."""

from typing import NamedTuple

COMMANDS = """\
usage: kindling COMMAND [--config FILE …] [--KEY VALUE …]

Train and use deep-learning models.

Begin
  demo        train a ResNet on handwritten digits, to see it all once
  new         begin a project of your own, with examples

Train
  data        look at the data before a training
  fit         train, keep the best checkpoint, test it
  folds       train once for each fold of a cross-validation
  sweep       search for better settings

Measure
  validate    measure a run's checkpoint on the validation split
  test        measure a run's checkpoint on the test split
  compare     show runs in one table, the best first
  board       show curves, figures and settings of runs in the browser (TensorBoard)

Use
  predict     predict images, a table or arrays
  export      write a model as ONNX or torch.export

Set up
  completion  let the shell complete commands, flags, configs and runs

Examples
  kindling data --data ImageFolder --data.path photos
  kindling fit --config configs/digits_mlp.yaml --trainer.max_epochs 5
  kindling fit --config configs/digits_resnet.yaml --config configs/trainer/gpu.yaml
  kindling fit --model MLP --data Table --data.path houses.csv --data.target price
  kindling fit --resume latest
  kindling test --run latest
  kindling predict --run latest --input new_photos

What a command takes: kindling fit --help. What a model or a data set takes: kindling fit --model.help NAME.
"""

ABOUT = {
    "fit": "Train on the training split, keep the checkpoint that is best on the validation split, and test it.",
    "validate": "Measure a checkpoint on the validation split. Flags win over the run's config.",
    "test": "Measure a checkpoint on the test split. Flags win over the run's config.",
    "data": "Look at the data before a training: sizes, classes and ranges, speed, and a picture of a batch.",
}


class Option(NamedTuple):
    """An option of the first screen.

    Args:
        flag: as it is typed.
        takes: its type in words.
        default: as YAML has it, or after "the" in words; empty where one has to be given.
        meaning: what it is for.
    """

    flag: str
    takes: str
    default: str
    meaning: str


CONFIG = Option("--config", "a file", "", "an experiment's YAML; later ones win, and flags win over all")
RUN = Option("--run", "a folder or latest", "", "the run whose config and checkpoint to use")

DATA = (
    Option("--data", "a name or an import path", "", "{data}"),
    Option("--data.path", "a file or a folder", "", "for Table, Arrays, ImageFolder, Masks, Text …"),
    Option("--data.target", "a name", "", "the column to predict, for Table, Images, ParquetFolder …"),
    Option("--data.batch_size", "a whole number", "64", "samples per batch"),
    Option("--data.val_fraction", "a number", "0.15", "share of the samples for validation"),
    Option("--data.test_fraction", "a number", "0.2", "share of the samples for testing"),
)
MODEL = (
    Option("--model", "a name or an import path", "", "{models}"),
    Option("--model.optimizer", "a name", "the model's own", "AdamW, SGD, Muon …"),
    Option("--model.optimizer.lr", "a number", "the model's own", "the learning rate"),
    Option("--model.schedule", "a name or null", "the model's own", "WarmupCosine, OneCycleLR …"),
    Option("--model.task", "a name", "by the targets", "Classification, Regression …"),
)
DEVICES = (
    Option("--trainer.accelerator", "a name", "auto", "cpu, gpu or mps; auto for the best available"),
    Option("--trainer.devices", "a whole number or auto", "auto", "how many; auto for all"),
    Option("--trainer.precision", "32-true, bf16-mixed, 16-mixed or auto", "null", "null for 32-true"),
)
TRAINING = (
    Option("--trainer.max_epochs", "a whole number or null", "20", "most passes over the training split"),
    Option("--trainer.gradient_clip_val", "a number or null", "1.0", "clip gradients longer than this"),
    Option("--trainer.fast_dev_run", "a whole number, true or false", "false", "run so many batches only"),
    Option("--early_stopping.patience", "a whole number or null", "10", "validations without improvement"),
    Option("--checkpoint.monitor", "a name or null", "null", "the metric that says what is best"),
    Option("--seed_everything", "a whole number", "0", "seed for weights, batches and augmentation"),
    *DEVICES,
)

GROUPS = {
    "fit": {
        "Data": DATA,
        "Model": MODEL,
        "Training": TRAINING,
        "Run": (
            CONFIG,
            Option("--resume", "a folder or latest", "", "continue this run in its own folder"),
            Option("--name", "a name", "the config's", "the run becomes a folder in lightning_logs/NAME"),
            Option("--run-id", "a name", "version_N", "the run's name; continues it if it exists"),
            Option("--test", "true or false", "true", "false leaves the test split alone"),
            Option("--find", "lr or batch_size", "", "try values for it instead of training"),
        ),
    },
    "validate": {
        "Run": (RUN, Option("--ckpt", "best, last or a file", "best", "the checkpoint"), CONFIG),
        "Data": DATA,
        "Devices": DEVICES,
    },
    "data": {
        "Data": DATA,
        "Run": (CONFIG, Option("--run", "a folder or latest", "", "the run whose data to look at")),
    },
}
GROUPS["test"] = GROUPS["validate"]

FURTHER = {
    "--help all": "every key",
    "--model.help {model}": "what a model takes",
    "--data.help {dataset}": "what a data set takes",
    "--print_config": "the config that would be used, as YAML",
}
# Of the engine; those of the projects are read from their sources.
ENGINE_DATA = (
    "Arrays", "HuggingFace", "ImageFolder", "Images", "Masks", "ParquetFolder", "Shards", "Table", "Text",
)  # fmt: skip
