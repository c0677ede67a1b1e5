"""Methods of the input, slow and literal, one sample at a time."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field

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
    score_of_input: Callable[[np.ndarray], float] = lambda _: 0.0
    gradient_of_input: Callable[[np.ndarray], np.ndarray] = np.zeros_like
    noise: np.ndarray = field(default_factory=lambda: np.zeros(0))  # (samples, c, *spatial), of a standard deviation of 1


def scaled(channel: np.ndarray) -> np.ndarray:
    shifted = channel - channel.min()
    return shifted / (shifted.max() or 1.0)


def resized(channel: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    if channel.ndim == 2:  # as pytorch-grad-cam does it
        return cv2.resize(channel.astype(np.float64), size[::-1])
    mode = {1: "linear", 3: "trilinear"}[channel.ndim]
    return F.interpolate(torch.from_numpy(channel.copy())[None, None], size=size, mode=mode)[0, 0].numpy()


def full_grad(sample: InputSample) -> np.ndarray:
    return sum(full_grad_layers(sample), np.zeros(sample.inputs.shape[1:]))


def full_grad_layers(sample: InputSample) -> list[np.ndarray]:
    """Return the map of the input and of each biased layer."""
    size = sample.inputs.shape[1:]
    layers = [np.zeros(size)]
    for channel, gradient in zip(sample.inputs, sample.gradients, strict=True):
        layers[0] += scaled(np.abs(channel * gradient))
    for term in sample.bias_terms:
        layers.append(np.zeros(size))
        for channel in term:
            layers[-1] += resized(scaled(np.abs(channel)), size)
    return layers


def full_grad_smoothed(sample: InputSample) -> np.ndarray:
    """Return the positions projected on the first principal component over the layers' maps, turned towards their sum."""
    layers = full_grad_layers(sample)
    points = np.stack([layer.ravel() - layer.mean() for layer in layers], axis=1)
    projection = points @ np.linalg.svd(points, full_matrices=False)[2][0]
    sign = np.sign(projection @ points.sum(axis=1))
    return (sign * projection).reshape(layers[0].shape)


def largest(attributions: np.ndarray) -> np.ndarray:
    raw = np.zeros(attributions.shape[1:])
    for position in np.ndindex(*raw.shape):
        raw[position] = max(abs(channel[position]) for channel in attributions)
    return raw


def guided_grad_cam(sample: InputSample) -> np.ndarray:
    return np.stack([channel * sample.map for channel in sample.guided])


def smooth_grad(sample: InputSample) -> np.ndarray:
    """Smilkov 2017: the mean gradient of 16 noisy inputs, sigma 0.15 of the range."""
    spread = max(sample.inputs.ravel()) - min(sample.inputs.ravel())
    total = np.zeros_like(sample.inputs)
    for noise in sample.noise[:16]:
        total += sample.gradient_of_input(sample.inputs + 0.15 * spread * noise) / 16
    return total


def integrated_gradients(sample: InputSample) -> np.ndarray:
    """Sundararajan 2017: x times the mean gradient at the middles of 50 parts of the way from zero to x."""
    total = np.zeros_like(sample.inputs)
    for step in range(50):
        total += sample.gradient_of_input((step + 0.5) / 50 * sample.inputs) / 50
    return sample.inputs * total


def occlusion_of(sample: InputSample, patch: tuple[int, ...], stride: tuple[int, ...], baseline: float | str = 0.0) -> np.ndarray:
    """Zeiler & Fergus 2014: the mean over the patches that cover a position of the fall of the score when they are blanked.

    "gaussian", "mean_patch" and "mean_image" as in MONAI 1.4, the means by channel.
    """
    size = sample.inputs.shape[1:]
    falls: dict[tuple[int, ...], list[tuple[float, float]]] = {position: [] for position in np.ndindex(*size)}
    corners = []
    for length, box, step in zip(size, patch, stride, strict=True):
        along = [0]
        while along[-1] + box < length:
            along.append(along[-1] + step)
        corners.append(along)
    for corner in itertools.product(*corners):
        covered = [p for p in falls if all(start <= at < start + box for at, start, box in zip(p, corner, patch, strict=True))]
        blanked = sample.inputs.copy()
        for position in covered:
            inside = tuple(at - start for at, start in zip(position, corner, strict=True))
            for channel in range(len(blanked)):
                place = (channel, *position)
                if baseline == "gaussian":
                    blanked[place] *= 1 - gaussian_shade(patch)[inside]
                elif baseline == "mean_patch":
                    blanked[place] = sum(sample.inputs[(channel, *other)] for other in covered) / len(covered)
                elif baseline == "mean_image":
                    blanked[place] = sum(sample.inputs[channel].ravel()) / sample.inputs[channel].size
                else:
                    blanked[place] = baseline
        fall = sample.score_of_input(sample.inputs) - sample.score_of_input(blanked)
        for position in covered:
            weight = 1.0
            if baseline == "gaussian":
                for at, start, box in zip(position, corner, patch, strict=True):
                    weight *= math.exp(-((at - start - (box - 1) / 2) ** 2) / (2 * (box / 8) ** 2))
                weight = max(weight, 1e-3)
            falls[position].append((weight, fall))
    raw = np.zeros(size)
    for position, values in falls.items():
        raw[position] = sum(weight * fall for weight, fall in values) / sum(weight for weight, _ in values)
    return raw


def gaussian_shade(patch: tuple[int, ...]) -> dict[tuple[int, ...], float]:
    """Return by position in the patch the integral of a Gaussian, sigma a quarter of the patch, over it, as 0 to 1 of its range."""
    shade = {}
    for position in np.ndindex(*patch):
        product = 1.0
        for at, box in zip(position, patch, strict=True):
            product *= math.erf((at - (box - 1) / 2 + 0.5) / (box / 4 * 2**0.5)) - math.erf((at - (box - 1) / 2 - 0.5) / (box / 4 * 2**0.5))
        shade[position] = product
    low, high = min(shade.values()), max(shade.values())
    return {position: (value - low) / (high - low) if high > low else 1.0 for position, value in shade.items()}


def occlusion(sample: InputSample) -> np.ndarray:
    patch = tuple(max(length // 8, 1) for length in sample.inputs.shape[1:])
    return occlusion_of(sample, patch, tuple(max(box // 2, 1) for box in patch))


INPUT_REPLICAS: dict[str, Callable[[InputSample], np.ndarray]] = {
    "fullgrad": full_grad,
    "guidedbackprop": lambda sample: largest(sample.guided),
    "guidedgradcam": lambda sample: largest(guided_grad_cam(sample)),
    "integratedgradients": lambda sample: sum(integrated_gradients(sample)),
    "occlusion": occlusion,
    "saliency": lambda sample: largest(sample.gradients),
    "smoothgrad": lambda sample: largest(smooth_grad(sample)),
}
"""Raw maps."""

ATTRIBUTIONS: dict[str, Callable[[InputSample], np.ndarray]] = {
    "guidedbackprop": lambda sample: sample.guided,
    "guidedgradcam": guided_grad_cam,
    "integratedgradients": integrated_gradients,
    "saliency": lambda sample: sample.gradients,
    "smoothgrad": smooth_grad,
}
