"""Data set of mmpretrain with the synthetic scenes of `camtool.datasets.synthetic.scenes`."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from mmpretrain.datasets import BaseDataset

from camtool.datasets.synthetic.scenes import Sample, Scene, ShapeScenes
from camtool.datasets.synthetic.watermarks import Watermark
from camtool.errors import DataError
from camtool.registry import DATASETS


@DATASETS.register_module()
class Shapes(BaseDataset):  # type: ignore[misc]  # mmpretrain has no types
    """Images with one class-determining shape among distractors, with mask, distractor mask and box.

    Each image is made on first access and kept in memory (20 kB at 64 pixels). Signals (`rank=1`) are pictures one pixel wide, since
    mmpretrain's transforms expect two axes at least: (n, 3, t, 1), for networks with kernels (k, 1). `camtool.ChannelsFirst` before
    `PackInputs` makes them (n, 3, t), and packs volumes.

    Args:
        split: "train", "val" or "test": different random scenes.
        count: number of images.
        rank: 1 for signals, 2 for pictures, 3 for volumes.
        seed, size, channels, distractors, fewest, kinds: as in `camtool.datasets.synthetic.scenes.ShapeScenes`.
        watermark: name of a class with which stripes in a corner go; None: no scene has them.
        correlation: of the stripes with that class, 0 to 1: `camtool.datasets.synthetic.watermarks.Watermark`.
        answers: include masks and box. Give False if the pipeline flips images, since it would not flip these.
        keywords: arguments of mmpretrain's BaseDataset: `pipeline`, `indices`, …

    Raises:
        DataError: if an argument is out of range.
    """

    METAINFO: ClassVar[dict[str, Any]] = {"classes": ShapeScenes().classes}

    def __init__(  # noqa: PLR0913 - a keyword each
        self,
        *,
        split: str = "train",
        count: int = 6000,
        rank: int = 2,
        seed: int = 0,
        size: int = 64,
        channels: int = 3,
        distractors: int = 1,
        fewest: int | None = None,
        watermark: str | None = None,
        correlation: float = 1.0,
        kinds: Sequence[str] | None = None,
        answers: bool = True,
        **keywords: Any,
    ) -> None:
        if count < 1:
            raise DataError(f"Shapes need count >= 1, got {count}.")
        self.scenes = ShapeScenes(
            split=split,
            seed=seed,
            rank=rank,
            size=size,
            channels=channels,
            distractors=distractors,
            fewest=fewest,
            watermark=None if watermark is None else Watermark(watermark, correlation),
            kinds=kinds,
        )
        self.count = count
        self.answers = answers
        self._cache: dict[int, Sample] = {}
        super().__init__(ann_file="", **{"metainfo": {"classes": self.scenes.classes}, **keywords})

    def load_data_list(self) -> list[dict[str, Any]]:
        classes = len(self.scenes.classes)
        return [{"scene": index, "gt_label": index % classes} for index in range(self.count)]

    def get_data_info(self, idx: int) -> dict[str, Any]:
        """Return `img` uint8 (h, w, 3) in BGR, `gt_label`, `sample_idx`, `mask` and `distractor_mask` bool (h, w), `box` int (2, 2).

        Of volumes, `img` is (d, h, w, 3), the masks are (d, h, w), the box is (3, 2). Of signals, `img` is (t, 1, 3), the masks are (t,),
        the box is (1, 2). With a watermark there is a `watermark_mask` as well.
        """
        info = super().get_data_info(idx)
        index = info["scene"]
        sample = self._cache.get(index) or self._cache.setdefault(index, self.scenes.scene(index).sample())
        *size, channels = sample.picture.shape
        picture = sample.picture.reshape(*size, *[1] * (2 - len(size)), channels)  # two axes at least
        info["img"] = np.ascontiguousarray(picture[..., ::-1])
        if self.answers:
            info.update(mask=sample.mask, distractor_mask=sample.distractor_mask, box=sample.box)
            if self.scenes.watermark is not None:
                info["watermark_mask"] = sample.watermark_mask
        return info

    def scene(self, idx: int) -> Scene:
        """Return the scene of a sample, which can be changed: without object, without distractors, with another class."""
        return self.scenes.scene(super().get_data_info(idx)["scene"])
