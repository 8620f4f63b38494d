"""Data: splits, batches and preprocessing; arrays, tables and image folders."""

from kindling.data.arrays import Arrays as Arrays
from kindling.data.image_augmentation import ImageAugmentation as ImageAugmentation
from kindling.data.image_folder import ImageFolder as ImageFolder
from kindling.data.table import Table as Table
