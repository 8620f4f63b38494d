"""Tasks: what a model's outputs mean."""

from kindling.tasks.base import Task as Task
from kindling.tasks.classification import BinaryClassification as BinaryClassification
from kindling.tasks.classification import Classification, MultilabelClassification
from kindling.tasks.default import DefaultTask as DefaultTask
from kindling.tasks.next_token import NextToken as NextToken
from kindling.tasks.reconstruction import Reconstruction as Reconstruction
from kindling.tasks.regression import Regression
from kindling.tasks.segmentation import Segmentation as Segmentation

DEFAULT_TASKS = {task.fits: task for task in (Classification, MultilabelClassification, Regression)}
