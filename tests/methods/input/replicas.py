"""Methods of the input, slow and literal, one sample at a time."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F


@dataclass
class InputSample:
    """One sample's evidence at the input; arrays (c, *spatial), the map (*spatial)."""

    inputs: np.ndarray
    gradients: np.ndarray
    bias_terms: list[np.ndarray]
    guided: np.ndarray
    map: np.ndarray


def scaled(channel: np.ndarray) -> np.ndarray:
    shifted = channel - channel.min()
    return shifted / (shifted.max() or 1.0)


def resized(channel: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    if channel.ndim == 2:  # as pytorch-grad-cam does it
        return cv2.resize(channel.astype(np.float64), size[::-1])
    mode = {1: "linear", 3: "trilinear"}[channel.ndim]
    return F.interpolate(torch.from_numpy(channel.copy())[None, None], size=size, mode=mode)[0, 0].numpy()


def full_grad(sample: InputSample) -> np.ndarray:
    size = sample.inputs.shape[1:]
    total = np.zeros(size)
    for channel, gradient in zip(sample.inputs, sample.gradients, strict=True):
        total += scaled(np.abs(channel * gradient))
    for term in sample.bias_terms:
        for channel in term:
            total += resized(scaled(np.abs(channel)), size)
    return total


def largest(attributions: np.ndarray) -> np.ndarray:
    raw = np.zeros(attributions.shape[1:])
    for position in np.ndindex(*raw.shape):
        raw[position] = max(abs(channel[position]) for channel in attributions)
    return raw


def guided_grad_cam(sample: InputSample) -> np.ndarray:
    return np.stack([channel * sample.map for channel in sample.guided])


INPUT_REPLICAS: dict[str, Callable[[InputSample], np.ndarray]] = {
    "fullgrad": full_grad,
    "guidedbackprop": lambda sample: largest(sample.guided),
    "guidedgradcam": lambda sample: largest(guided_grad_cam(sample)),
}
"""Raw maps."""

ATTRIBUTIONS: dict[str, Callable[[InputSample], np.ndarray]] = {
    "guidedbackprop": lambda sample: sample.guided,
    "guidedgradcam": guided_grad_cam,
}
