"""Writes predictions that are images, such as masks: PNG files in a folder beside the table that names them."""

from pathlib import Path, PurePath
from typing import Any

import numpy as np
from PIL import Image

from kindling.core.errors import UsageError
from kindling.core.palette import class_colours
from kindling.data.image_files import restored, size_of

PALETTE = [value for colour in class_colours(256) for value in colour]


class ImageOutputs:
    """Writes images while a table is written.

    Args:
        folder: the files are written there first; it is then to replace `target`.
        target: where they belong, beside the table.
        replaces: whether an existing `target` may be replaced; if not, the first image to write raises a UsageError.
        resize: how image files were brought to the size that the model takes.
    """

    def __init__(self, folder: Path, target: Path, replaces: bool, resize: str) -> None:
        self.folder, self.target, self.replaces, self.resize = folder, target, replaces, resize
        self.written = set[str]()
        self.cropped = 0  # how many of the image files were cropped

    def with_files(self, columns: dict[str, Any], names: list[str], sources: list[str]) -> dict[str, Any]:
        """A table's columns, with images replaced by the names of the files they are written to.

        Args:
            columns: of the table.
            names: of the inputs.
            sources: their image files, whose sizes the images get; empty if they are not from files.
        """
        sources = sources or [""] * len(names)
        return {
            column: [self._write(*each) for each in zip(names, sources, values, strict=True)]
            if _are_images(values)
            else values
            for column, values in columns.items()
        }

    def _write(self, name: str, source: str, pixels: np.ndarray) -> str:
        """Write an image of integers, (H, W) uint8 or uint16, as an input's PNG; returns its name for the table.

        What was cropped away from an image file has the largest value, 255: no class.
        """
        if not self.replaces and self.target.exists():
            raise UsageError(
                f"{self.target} exists already, where the masks would go: remove it, or choose another --output"
            )
        file = self._file_for(name)
        path = self.folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(pixels)
        if source:
            size, largest = size_of(source), np.iinfo(pixels.dtype).max
            image = restored(image, *size, self.resize, border=largest)
            self.cropped += self.resize == "crop" and size[0] * pixels.shape[0] != size[1] * pixels.shape[1]
        if pixels.dtype == np.uint8:
            image.putpalette(PALETTE)  # colours for the eye; the numbers stay
        image.save(path)
        return f"{self.target.name}/{file}"

    def _file_for(self, name: str) -> str:
        """The input's own name with the suffix .png in place of its own, or after it if that name is taken."""
        path = PurePath(name)
        if path.is_absolute() or ".." in path.parts or not path.name or "\0" in name:
            path = PurePath(str(len(self.written)))
        file = path.with_suffix(".png").as_posix()
        if file in self.written:
            file = f"{path.as_posix()}.png"
        while file in self.written:
            file = f"{len(self.written)}_{path.name}.png"
        self.written.add(file)
        return file


def _are_images(values: Any) -> bool:
    return isinstance(values, list) and bool(values) and isinstance(values[0], np.ndarray)
