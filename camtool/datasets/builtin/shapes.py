"""Shapes: the scenes of `camtool.datasets.synthetic.scenes` as a data set of mmpretrain."""

from typing import Any, ClassVar

import numpy as np
from mmpretrain.datasets import BaseDataset

from camtool.datasets.synthetic.scenes import Sample, Scene, ShapeScenes
from camtool.errors import DataError
from camtool.registry import DATASETS


@DATASETS.register_module()
class Shapes(BaseDataset):  # type: ignore[misc]  # mmpretrain has no types
    """Pictures with one class-determining shape among distractors, made on the fly, with mask, distractor mask and box.

    Each is made when it is first asked for and kept, 20 kB at 64 pixels.

    Args:
        split: "train", "val" or "test": other scenes of the same kind.
        count: how many.
        seed, size, distractors, fewest: those of `camtool.datasets.synthetic.scenes.ShapeScenes`.
        answers: give mask, distractor mask and box, too; False where the pipeline flips pictures, for they would stay as they are.
        keywords: those of mmpretrain's data sets: `pipeline`, `indices`, …

    Raises:
        DataError: if there are no such scenes.
    """

    METAINFO: ClassVar[dict[str, Any]] = {"classes": ShapeScenes().classes}

    def __init__(
        self,
        *,
        split: str = "train",
        count: int = 6000,
        seed: int = 0,
        size: int = 64,
        distractors: int = 1,
        fewest: int | None = None,
        answers: bool = True,
        **keywords: Any,
    ) -> None:
        if count < 1:
            raise DataError(f"Shapes need count >= 1, got {count}.")
        self.scenes = ShapeScenes(split=split, seed=seed, size=size, distractors=distractors, fewest=fewest)
        self.count = count
        self.answers = answers
        self._made: dict[int, Sample] = {}
        super().__init__(ann_file="", **keywords)

    def load_data_list(self) -> list[dict[str, Any]]:
        classes = len(self.scenes.classes)
        return [{"scene": index, "gt_label": index % classes} for index in range(self.count)]

    def get_data_info(self, idx: int) -> dict[str, Any]:
        """Return `img` uint8 (h, w, 3) in BGR, `gt_label`, `sample_idx`, `mask` and `distractor_mask` bool (h, w), `box` int (2, 2)."""
        info = super().get_data_info(idx)
        index = info["scene"]
        sample = self._made.get(index) or self._made.setdefault(index, self.scenes.scene(index).sample())
        info["img"] = np.ascontiguousarray(sample.picture[..., ::-1])
        if self.answers:
            info.update(mask=sample.mask, distractor_mask=sample.distractor_mask, box=sample.box)
        return info

    def scene(self, idx: int) -> Scene:
        """Return the scene of a sample: it can be had without its object, without its distractors, or with another class's."""
        return self.scenes.scene(super().get_data_info(idx)["scene"])
