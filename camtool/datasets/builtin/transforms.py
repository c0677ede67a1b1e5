"""LoadImageFromFile that leaves alone what a data set has made."""

from typing import Any

import mmcv
from mmcv.transforms import LoadImageFromFile as LoadFromFile

from camtool.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadImageFromFile(LoadFromFile):  # type: ignore[misc]  # mmcv has no types
    """Gives `img` of `img_path` as mmcv does, or the `img` that the data set hands over, uint8 (h, w, 3) in BGR.

    One pipeline then serves scenes made on the fly, the same scenes in a folder, and a picture on the command line.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any] | None:
        if results.get("img") is None:
            return super().transform(results)
        if self.color_type == "grayscale":
            results["img"] = mmcv.bgr2gray(results["img"])
        results["img_shape"] = results["ori_shape"] = results["img"].shape[:2]
        return results
