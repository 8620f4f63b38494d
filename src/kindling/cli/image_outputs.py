"""Images among predictions, such as masks: PNG files in a folder beside the table, which has their names."""

from pathlib import Path, PurePath
from typing import Any

import numpy as np
from PIL import Image

from kindling.core.errors import UsageError
from kindling.core.palette import class_colours

PALETTE = [value for colour in class_colours(256) for value in colour]


class ImageOutputs:
    """Writes images while a table is written.

    Args:
        folder: that the files are written to, to be put in the place of `target`.
        target: where they belong, beside the table.
        replaces: whether what is in `target` may be replaced; a UsageError if not, once there is an image to write.
    """

    def __init__(self, folder: Path, target: Path, replaces: bool) -> None:
        self.folder, self.target, self.replaces = folder, target, replaces
        self.written = set[str]()

    def with_files(self, columns: dict[str, Any], names: list[str]) -> dict[str, Any]:
        """A table's columns, those of images being the names of files that are written: one for each of the names."""
        return {
            column: [self._write(*pair) for pair in zip(names, values, strict=True)] if _are_images(values) else values
            for column, values in columns.items()
        }

    def _write(self, name: str, pixels: np.ndarray) -> str:
        """Write an image in whole numbers, (H, W) uint8 or uint16, as the PNG of an input; its name in the table."""
        if not self.replaces and self.target.exists():
            raise UsageError(
                f"{self.target} is there already, where the masks would go: remove it, or name another --output"
            )
        file = self._file_for(name)
        path = self.folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(pixels)
        if pixels.dtype == np.uint8:
            image.putpalette(PALETTE)  # in colours to look at; the numbers stay
        image.save(path)
        return f"{self.target.name}/{file}"

    def _file_for(self, name: str) -> str:
        """The input's own name with the ending .png; all of it before the ending if another has taken that."""
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
