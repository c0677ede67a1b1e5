"""Write scenes of shapes as an image folder, `train/<class>/0001.png`, for mmpretrain's CustomDataset or torchvision's ImageFolder."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from camtool.datasets.synthetic.scenes import ShapeScenes
from camtool.errors import DataError
from camtool.io.atomic import whole_folder

MASKS = "masks"
DISTRACTOR_MASKS = "distractor_masks"
WATERMARK_MASKS = "watermark_masks"


def write_folder(directory: Path, scenes: ShapeScenes, counts: Mapping[str, int]) -> None:
    """Write the first `counts[split]` scenes of each split as PNG files, atomically.

    An image is `<split>/<class>/<index>.png`, its masks (0 and 255) are `masks/<split>/<class>/<index>.png` and
    `distractor_masks/…`, and with a watermark `watermark_masks/…`. The `split` of `scenes` itself is ignored.

    Raises:
        DataError: if the scenes are not two-dimensional RGB images.
        OutputError: if `directory` exists, or cannot be written. Nothing is left behind.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as parent:
        ...     write_folder(Path(parent) / "shapes", ShapeScenes(size=32), {"train": 6, "val": 0})
        ...     sorted(path.name for path in (Path(parent) / "shapes/train").iterdir())
        ['cross', 'disc', 'nothing', 'ring', 'square', 'triangle']
    """
    if scenes.rank != 2 or scenes.channels != 3:
        raise DataError(f"Expected scenes with rank=2 and channels=3, got rank={scenes.rank}, channels={scenes.channels}.")
    with whole_folder(directory) as folder:
        for split, count in counts.items():
            _write_split(folder, replace(scenes, split=split), count)


def _write_split(root: Path, scenes: ShapeScenes, count: int) -> None:
    kinds = ("", MASKS, DISTRACTOR_MASKS, *([] if scenes.watermark is None else [WATERMARK_MASKS]))
    for kind in kinds:
        for name in scenes.classes:
            (root / kind / scenes.split / name).mkdir(parents=True)
    digits = max(4, len(str(count - 1)))
    for index in range(count):
        sample = scenes.scene(index).sample()
        place = Path(scenes.split) / scenes.classes[sample.label] / f"{index:0{digits}d}.png"
        masks = (sample.mask, sample.distractor_mask, sample.watermark_mask)
        for kind, levels in zip(kinds, (sample.picture, *(mask * np.uint8(255) for mask in masks)), strict=False):
            Image.fromarray(levels).save(root / kind / place, "png")
