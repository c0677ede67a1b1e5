"""The network of an Awesome-Backbones config gets what their val_pipeline gives: theirs replayed slowly, step by step."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from camtool.config.loading import load_config
from camtool.io.images import read_picture
from tests.config.awesome import FORMATTING, NORMALIZE, text
from tests.models.fixtures import ROOT
from tests.models.pipelines import build

SMALL = "dict(backbone=dict(type='ResNet', depth=18, base_channels=8, stem_channels=8), head=dict(type='ClsHead'))"
BGR = "dict(type='Normalize', mean=[103.53, 116.28, 123.675], std=[57.375, 57.12, 58.395], to_rgb=False)"
DEFAULT_ORDER = "dict(type='Normalize', mean=[90, 80, 70], std=[30.0, 40.0, 50.0])"
LOAD = "dict(type='LoadImageFromFile')"
PIPELINES = {
    "MobileNetV3": f"[{LOAD}, dict(type='Resize', size=(256, -1), backend='pillow'), dict(type='CenterCrop', crop_size=224), {NORMALIZE}]",
    "Swin, ViT": f"""[{LOAD}, dict(type='Resize', size=(256, -1), backend='pillow', interpolation='bicubic'),
        dict(type='CenterCrop', crop_size=224), {NORMALIZE}]""",
    "T2T-ViT": f"""[{LOAD}, dict(type='Resize', size=(248, -1), backend='pillow', interpolation='bicubic'),
        dict(type='CenterCrop', crop_size=224), {NORMALIZE}]""",
    "Swin 384": f"[{LOAD}, dict(type='Resize', size=96, backend='pillow'), {NORMALIZE}]",
    "RegNet": f"[{LOAD}, dict(type='Resize', size=(256, -1)), dict(type='CenterCrop', crop_size=224), {BGR}]",
    "EfficientNet": f"[{LOAD}, dict(type='CenterCrop', crop_size=224, efficientnet_style=True, interpolation='bicubic'), {NORMALIZE}]",
    "ResNetV1d": f"[{LOAD}, dict(type='CenterCrop', crop_size=64, efficientnet_style=True, crop_padding=8, backend='pillow'), {NORMALIZE}]",
    "height and width": f"[{LOAD}, dict(type='Resize', size=(120, 90), interpolation='area'), {NORMALIZE}]",
    "crop of height and width, after Normalize": f"""[{LOAD}, dict(type='Resize', size=(128, -1), adaptive_side='long'), {NORMALIZE},
        dict(type='CenterCrop', crop_size=(100, 60))]""",
    "by width, not loaded": f"[dict(type='Resize', size=(128, -1), adaptive_side='width'), {DEFAULT_ORDER}]",
    "by height": f"[{LOAD}, dict(type='Resize', size=(128, -1), adaptive_side='height'), dict(type='CenterCrop', crop_size=64), {BGR}]",
}


def _resized(picture: np.ndarray, height: int, width: int, interpolation: str, backend: str) -> np.ndarray:
    if backend == "pillow":
        kernel = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[interpolation]
        return np.array(Image.fromarray(picture).resize((width, height), kernel))
    code = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC, "area": cv2.INTER_AREA}[interpolation]
    return cv2.resize(picture, (width, height), interpolation=code)


def _resize(
    picture: np.ndarray, size: Any, interpolation: str = "bilinear", adaptive_side: str = "short", backend: str = "cv2"
) -> np.ndarray:
    height, width = picture.shape[:2]
    if isinstance(size, int):
        return _resized(picture, size, size, interpolation, backend)
    if size[1] != -1:
        return _resized(picture, size[0], size[1], interpolation, backend)
    side = size[0]
    if {"short": min(height, width), "long": max(height, width), "height": height, "width": width}[adaptive_side] == side:
        return picture
    by_width = {"short": width < height, "long": width > height, "height": False, "width": True}[adaptive_side]
    new = (int(side * height / width), side) if by_width else (side, int(side * width / height))
    return _resized(picture, *new, interpolation, backend)


def _center_crop(
    picture: np.ndarray,
    crop_size: Any,
    efficientnet_style: bool = False,
    crop_padding: int = 32,
    interpolation: str = "bilinear",
    backend: str = "cv2",
) -> np.ndarray:
    crop_height, crop_width = (crop_size, crop_size) if isinstance(crop_size, int) else crop_size
    height, width = picture.shape[:2]
    cut_height, cut_width = crop_height, crop_width
    if efficientnet_style:
        cut_height = crop_height / (crop_height + crop_padding) * min(height, width)
        cut_width = crop_width / (crop_width + crop_padding) * min(height, width)
    top, left = (max(0, round((side - cut) / 2)) for side, cut in ((height, cut_height), (width, cut_width)))
    bottom, right = min(height, top + cut_height) - 1, min(width, left + cut_width) - 1
    cut = picture[top : int(bottom) + 1, left : int(right) + 1]
    return _resized(cut, crop_height, crop_width, interpolation, backend) if efficientnet_style else cut


def _normalize(picture: np.ndarray, mean: list[float], std: list[float], to_rgb: bool = True) -> np.ndarray:
    ordered = picture[..., ::-1] if to_rgb else picture
    return (ordered.astype(np.float64) - np.float32(mean)) / np.float32(std)


def _theirs(path: str, pipeline: list[dict[str, Any]]) -> torch.Tensor:
    picture = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_COLOR)
    steps = {"Resize": _resize, "CenterCrop": _center_crop, "Normalize": _normalize}
    for step in pipeline:
        if step["type"] in steps:
            picture = steps[step["type"]](picture, **{key: value for key, value in step.items() if key != "type"})
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1), dtype=np.float32))[None]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """JPEG files: wide, tall, of the very size, and smaller than any network's input."""
    folder = tmp_path_factory.mktemp("pictures")
    paths = [str(ROOT / "demo/cat.jpg"), str(ROOT / "demo/rocket.jpg")]
    cat = Image.open(paths[0])
    for width, height in [(101, 133), (333, 701), (600, 256)]:
        paths.append(str(folder / f"{width}.jpg"))
        cat.resize((width, height)).save(paths[-1])
    return paths


@pytest.mark.parametrize("pipeline", PIPELINES.values(), ids=PIPELINES)
def test_the_input_is_that_of_their_pipeline(config_file: Callable[..., str], pictures: list[str], pipeline: str) -> None:
    with_formatting = f"{pipeline[:-1]}, {FORMATTING}]"
    preprocess, _ = build(load_config(config_file(text(SMALL, with_formatting))).config)
    for path in pictures:
        expected = _theirs(path, eval(with_formatting))
        torch.testing.assert_close(preprocess(read_picture(Path(path))), expected, atol=1e-5, rtol=0)
