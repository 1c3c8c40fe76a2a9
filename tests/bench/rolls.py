"""The rolls that are measured on: what is on them, and their frames as files with their truth."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import tifffile
from PIL import Image
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dustwatch.processing.arrays import Mask, Planes, Scan
    from dustwatch.processing.simulate import Roll, RollParams, Scene, SimulatedFrame

REAL_DIRT_PX = 4976
"""Width of the scans from which the real outlines were taken."""

JPEG_QUALITY = 90


def photographs(files: Sequence[Path], seed: int) -> Scene:
    """Crops of photographs, in an order and at places that depend on the seed, some of them mirrored."""
    order = np.random.default_rng((seed, 9)).permutation(len(files))

    def scene(number: int, rows: int, columns: int) -> Planes:
        image = Image.open(files[order[number % len(files)]]).convert("RGB")
        rng = np.random.default_rng((seed, number, 3))
        scale = max(columns / image.width, rows / image.height)
        if scale > 1:
            size = (int(np.ceil(image.width * scale)), int(np.ceil(image.height * scale)))
            image = image.resize(size, Image.Resampling.LANCZOS)
        left = int(rng.integers(image.width - columns + 1))
        top = int(rng.integers(image.height - rows + 1))
        picture = np.asarray(image.crop((left, top, left + columns, top + rows)))
        if rng.random() < 0.5:
            picture = picture[:, ::-1]
        return (picture.astype(np.float32) / 255) ** np.float32(2.2)

    return scene


def real_outlines(files: Sequence[Path], width: int) -> list[Mask]:
    """Outlines of real dirt, at the size that they have in a frame of `width` px."""
    found = []
    for file in files:
        dirt = np.asarray(Image.open(file)) > 0
        size = (dirt.shape[1] * width // REAL_DIRT_PX, dirt.shape[0] * width // REAL_DIRT_PX)
        labels, _ = ndimage.label(np.asarray(Image.fromarray(dirt).resize(size)))
        for number, box in enumerate(ndimage.find_objects(labels), 1):
            outline = labels[box] == number
            if 3 <= outline.sum() < 4000:
                found.append(outline)
    return found


@dataclass(frozen=True, slots=True)
class Scanned:
    """A roll in a folder, as files that hold what a scanner would have written.

    Rolls of 8 bit have been JPEGs; they lie there decoded, as PNGs, for what one more encoding does to what comes out
    is no business of those who measure the cleaning.
    """

    roll: Roll
    folder: Path

    @property
    def suffix(self) -> str:
        return ".png" if self.roll.params.maximum == 255 else ".tif"

    @property
    def profile(self) -> str:
        """Name of the profile that says what the scans hold."""
        inverted = self.roll.params.tone.dirt == "brightens"
        return "generic-negative-inverted" if inverted else "generic-negative"

    @property
    def files(self) -> list[Path]:
        return [self.folder / f"frame-{number:02d}{self.suffix}" for number in range(1, len(self.roll) + 1)]

    def write(self, index: int) -> SimulatedFrame:
        """Scan the frame at `index` into its file."""
        frame, file = self.roll.frame(index), self.files[index]
        if self.suffix == ".png":
            encoded = io.BytesIO()
            Image.fromarray(frame.scan).save(encoded, "jpeg", quality=JPEG_QUALITY)
            Image.open(encoded).save(file, compress_level=1)
        else:
            tifffile.imwrite(file, frame.scan, photometric="rgb", metadata=None)
        return replace(frame, scan=pixels(file))

    def read(self, index: int) -> SimulatedFrame:
        """What `write` gave, once more: all frames of a roll would fill the memory."""
        return replace(self.roll.frame(index), scan=pixels(self.files[index]))


def pixels(file: Path) -> Scan:
    """The decoded picture."""
    return tifffile.imread(file) if file.suffix == ".tif" else np.asarray(Image.open(file))


def true_groups(params: RollParams) -> list[int]:
    """Which glass each frame lies on, as the roll's parameters have it."""
    return [sum(i >= wipe for wipe in params.wipes) * params.slots + i % params.slots for i in range(params.frames)]
