"""Preprocessing by a short description: size, crop, order of channels, mean and standard deviation."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from camtool.errors import ConfigError
from camtool.models.sources.preprocessing import described, of_pil

PICTURE = np.arange(8 * 6 * 3, dtype=np.uint8).reshape(8, 6, 3)


def test_without_any_key_values_are_scaled_to_one() -> None:
    inputs = described({})(PICTURE)
    torch.testing.assert_close(inputs, torch.from_numpy(PICTURE).permute(2, 0, 1)[None] / 255)
    assert inputs.dtype == torch.float32


def test_mean_and_deviation_are_of_the_channels_as_the_network_sees_them() -> None:
    values = torch.from_numpy(PICTURE).permute(2, 0, 1)[None] / 255
    mean, std = torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1), torch.tensor([1.0, 2.0, 4.0]).view(3, 1, 1)
    spec = {"mean": [0.1, 0.2, 0.3], "std": [1, 2, 4]}
    torch.testing.assert_close(described(spec)(PICTURE), (values - mean) / std)
    torch.testing.assert_close(described({**spec, "color": "bgr"})(PICTURE), (values.flip(1) - mean) / std)


def test_grey_has_one_channel() -> None:
    inputs = described({"color": "gray", "mean": 0.5, "std": [0.5]})(PICTURE)
    luma = (PICTURE @ np.array([0.299, 0.587, 0.114])).round() / 255
    assert inputs.shape == (1, 1, 8, 6)
    torch.testing.assert_close(inputs[0, 0], torch.from_numpy(luma).float() * 2 - 1, rtol=0, atol=2 * 1.01 / 255)


@pytest.mark.parametrize(
    ("spec", "size"),
    [
        ({"resize": 12}, (16, 12)),
        ({"resize": (10, 20)}, (10, 20)),
        ({"resize": 12, "crop": 10}, (10, 10)),
        ({"crop": (4, 2), "interpolation": "bicubic"}, (4, 2)),
    ],
)
def test_sizes_are_the_short_edge_or_height_and_width(spec: dict[str, Any], size: tuple[int, int]) -> None:
    assert described(spec)(PICTURE).shape == (1, 3, *size)


def test_the_crop_is_the_centre() -> None:
    torch.testing.assert_close(described({"crop": (4, 2)})(PICTURE), described({})(PICTURE)[:, :, 2:6, 2:4])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (3, r"'preprocess' must be a dict such as dict\(resize=256, crop=224\), got 3"),
        ({"crops": 1}, "'preprocess' has no key 'crops'; closest: 'crop'"),
        ({"crop": 0}, "'preprocess.crop' must be a number of pixels or"),
        ({"resize": (1, 2, 3)}, "'preprocess.resize' must be a number of pixels or"),
        ({"resize": True}, "'preprocess.resize' must be a number of pixels or"),
        ({"color": "RGBA"}, "'preprocess.color' must be one of rgb, bgr, gray, got 'RGBA'"),
        ({"interpolation": "cubic"}, "'preprocess.interpolation' must be one of .*bicubic"),
        ({"mean": [0.5, 0.5]}, "'preprocess.mean' must be one number, or one for each of 3 channels"),
        ({"std": "x"}, "'preprocess.std' must be one number"),
        ({"std": [1, 0, 1]}, "'preprocess.std' must not be 0"),
    ],
)
def test_a_wrong_description_is_refused(spec: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        described(spec)


def _fail(image: Any) -> Tensor:
    raise ValueError("no such\nmode")


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (lambda image: image, "must give a floating-point tensor .* got a Image"),
        (lambda _: torch.zeros(3, 4, 4, dtype=torch.uint8), r"got torch\.uint8 \(3, 4, 4\)"),
        (lambda _: torch.zeros(2, 3, 4, 4), r"got torch\.float32 \(2, 3, 4, 4\)"),
        (_fail, "fails on this image: ValueError: no such mode"),
    ],
)
def test_a_transform_of_ones_own_must_give_one_input(transform: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        of_pil(transform)(PICTURE)
