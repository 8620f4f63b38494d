"""Data: splits, batches and preprocessing; arrays, tables, image folders, masks and text."""

from kindling.data.arrays import Arrays as Arrays
from kindling.data.image_augmentation import ImageAugmentation as ImageAugmentation
from kindling.data.image_folder import ImageFolder as ImageFolder
from kindling.data.masks import Masks as Masks
from kindling.data.table import Table as Table
from kindling.data.text import Text as Text
