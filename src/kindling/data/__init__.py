"""Data: splits, batches and preprocessing; arrays, tables, images, masks, text, and what is larger than memory."""

from kindling.data.arrays import Arrays as Arrays
from kindling.data.hugging_face import HuggingFace as HuggingFace
from kindling.data.image_augmentation import ImageAugmentation as ImageAugmentation
from kindling.data.image_folder import ImageFolder as ImageFolder
from kindling.data.images import Images as Images
from kindling.data.masks import Masks as Masks
from kindling.data.parquet_folder import ParquetFolder as ParquetFolder
from kindling.data.shards import Shards as Shards
from kindling.data.table import Table as Table
from kindling.data.text import Text as Text
