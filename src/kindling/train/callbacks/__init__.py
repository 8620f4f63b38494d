"""The callbacks of every training, each with its arguments as flags, such as `--early_stopping.patience 20`."""

from kindling.train.callbacks.checkpoint import Checkpoint
from kindling.train.callbacks.early_stopping import EarlyStopping
from kindling.train.callbacks.freezing import Freezing
from kindling.train.callbacks.gradient_norm import GradientNorm
from kindling.train.callbacks.non_finite import NonFinite
from kindling.train.callbacks.tensorboard_extras import TensorboardExtras
from kindling.train.callbacks.weight_averaging import WeightAveraging

CALLBACKS = (Checkpoint, EarlyStopping, Freezing, GradientNorm, NonFinite, TensorboardExtras, WeightAveraging)
