"""LoadImageFromFile that also accepts images already in memory."""

from typing import Any

import mmcv
from mmcv.transforms import LoadImageFromFile as LoadFromFile

from camtool.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadImageFromFile(LoadFromFile):  # type: ignore[misc]  # mmcv has no types
    """Load `img` from `img_path` as mmcv does, unless the data set gives `img` itself: uint8 (h, w, 3) in BGR.

    So the same pipeline serves generated scenes, an image folder, and a file on the command line.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any] | None:
        if results.get("img") is None:
            return super().transform(results)
        if self.color_type == "grayscale":
            results["img"] = mmcv.bgr2gray(results["img"])
        results["img_shape"] = results["ori_shape"] = results["img"].shape[:2]
        return results
