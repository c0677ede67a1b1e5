"""Transforms of the training pipelines: LoadImageFromFile, also of images already in memory, and ChannelsFirst, in any rank."""

from typing import Any

import mmcv
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmcv.transforms import LoadImageFromFile as LoadFromFile

from camtool.errors import DataError
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


@TRANSFORMS.register_module()
class ChannelsFirst(BaseTransform):  # type: ignore[misc]  # mmcv has no types
    """Turn `img`, an array with channels last, into a tensor (c, *spatial), which PackInputs packs as it is.

    PackInputs alone puts channels first in pictures only: it leaves a volume (d, h, w, c) as it lies, and takes a signal (t, c) for a
    grey picture.

    Args:
        rank: spatial axes of the network's input; more axes of `img`, at its end, must have length 1 and are left out.

    Raises:
        DataError: for an image with fewer spatial axes, or with more that are longer.
    """

    def __init__(self, rank: int) -> None:
        self.rank = rank

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        image = results["img"]
        *size, channels = image.shape
        if len(size) < self.rank or any(length != 1 for length in size[self.rank :]):
            raise DataError(f"ChannelsFirst(rank={self.rank}) expects {self.rank} spatial axes, got an image of {tuple(size)}.")
        image = np.moveaxis(image.reshape(*size[: self.rank], channels), -1, 0)
        results["img"] = torch.from_numpy(image.copy())  # a flip leaves negative strides
        return results
