"""Replicas of methods that look at noisy, faded or otherwise altered copies of the input; see tests/methods/replicas.py."""

import itertools
import math
from dataclasses import replace

import numpy as np

from tests.methods.replicas import Sample, channel_sum, gradcam, method, min_max, positions, relu, resize, whole_map


def noisy(sample: Sample, count: int, sigma: float) -> list[np.ndarray]:
    """Return copies of the picture with noise of `sigma` times its range."""
    spread = max(sample.picture.ravel()) - min(sample.picture.ravel())
    return [sample.picture + sigma * spread * sample.noise[i] for i in range(count)]


@method("smoothgradcam++")
def smoothgradcam_plus_plus(sample: Sample) -> np.ndarray:
    """Omeiza 2019: Grad-CAM++ with the mean of g, of g^2 and of g^3 over four noisy inputs, sigma 0.3 of the range."""
    gradients = [sample.evidence_of_input(picture)[1] for picture in noisy(sample, 4, 0.3)]
    largest = max(abs(g) for one in gradients for g in one.ravel())
    terms = np.zeros_like(sample.activations)
    for k, activation in enumerate(sample.activations):
        total, weight = sum(activation[p] for p in positions(activation)), 0.0
        for p in positions(activation):
            first, second, third = (sum(one[k][p] ** order for one in gradients) / 4 for order in (1, 2, 3))
            if second != 0:
                denominator = 2 * second + total * third
                weight += second / (denominator + math.copysign(1e-12 * largest**2, denominator)) * max(first, 0.0)
        for p in positions(activation):
            terms[k][p] = weight * activation[p]
    return terms


@whole_map("smooth")
def smooth(sample: Sample) -> np.ndarray:
    """Smilkov 2017, around Grad-CAM: the mean map over 16 noisy inputs, sigma 0.15 of the range."""
    total = np.zeros(sample.activations.shape[1:])
    for picture in noisy(sample, 16, 0.15):
        activations, gradients = sample.evidence_of_input(picture)
        total += channel_sum(gradcam(replace(sample, activations=activations, gradients=gradients))) / 16
    return total


@whole_map("sess")
def sess(sample: Sample) -> np.ndarray:
    """Tursun 2022, as the authors' code, around Grad-CAM: 6 sizes, each 2/7 larger; windows of the input's size."""
    size = sample.picture.shape[1:]
    placed, scores = [], []
    for number in range(6):
        by_axis = []
        for length in size:  # evenly from border to border, in whole pixels; an axis of one position is not enlarged
            further = round(2 / 7 * number * length) if length > 1 else 0
            parts = 0
            while parts * length < further:
                parts += 1
            by_axis.append([part * round(further / parts) for part in range(parts + 1)] if parts else [0])
        scaled = tuple(starts[-1] + length for starts, length in zip(by_axis, size, strict=True))
        large = np.stack([resize(channel, scaled) for channel in sample.picture])
        for corner in itertools.product(*by_axis):
            where = tuple(slice(start, start + length) for start, length in zip(corner, size, strict=True))
            window = large[(slice(None), *where)]
            activations, gradients = sample.evidence_of_input(window)
            heat = relu(channel_sum(gradcam(replace(sample, activations=activations, gradients=gradients))))
            heat = min_max(resize(min_max(heat), size)) if heat.max() > heat.min() else np.zeros(size)
            whole_heat = np.zeros(scaled)
            whole_heat[where] = heat
            placed.append(whole_heat)
            scores.append(max(sample.score_of_input(window), 0.0))
    total, count = np.zeros(size), np.zeros(size)
    for whole_heat, score in zip(placed, scores, strict=True):
        layer = resize(whole_heat, size) * score / max(scores)
        for p in positions(layer):
            if layer[p] > 1e-6:
                total[p] += layer[p]
                count[p] += 1
    mean = np.array([total[p] / count[p] if count[p] else 0.0 for p in positions(total)]).reshape(size)
    for axis in range(mean.ndim):
        mean = np.apply_along_axis(smoothed, axis, mean)
    return mean


def smoothed(line: np.ndarray) -> np.ndarray:
    """Return a line smoothed by a Gaussian of 11 pixels, sigma 5, mirrored without its first and last pixel; fewer on short lines."""
    reach = min(5, len(line) - 1)
    weights = {offset: math.exp(-(offset**2) / 50) for offset in range(-reach, reach + 1)}
    values = []
    for place in range(len(line)):
        total = 0.0
        for offset, weight in weights.items():
            index = abs(place + offset)
            total += weight * line[2 * (len(line) - 1) - index if index >= len(line) else index]
        values.append(total / sum(weights.values()))
    return np.array(values)


@whole_map("integrated")
def integrated(sample: Sample) -> np.ndarray:
    """Sundararajan 2017, around Grad-CAM: the mean gradient at the middles of 20 parts of the way from zero to the input."""
    gradients = np.zeros_like(sample.gradients)
    for step in range(20):
        gradients += sample.evidence_of_input((step + 0.5) / 20 * sample.picture)[1] / 20
    return channel_sum(gradcam(replace(sample, gradients=gradients)))


@whole_map("finer")
def finer(sample: Sample) -> np.ndarray:
    """Zhang 2025, around Grad-CAM: the same, of the gradients of another score (see `finer_coefficients`)."""
    return channel_sum(gradcam(sample))


def finer_coefficients(logits: np.ndarray, index: int, alpha: float = 0.6) -> np.ndarray:
    """Return the derivative in the logits of y_c - alpha * sum_d p_d y_d, d the three closest others, p their softmax."""
    others = [d for d in range(len(logits)) if d != index]
    nearest = sorted(others, key=lambda d: abs(logits[d] - logits[index]))[:3]
    exponentials = {d: np.exp(logits[d]) for d in nearest}
    shares = {d: exponentials[d] / sum(exponentials.values()) for d in nearest}
    mean = sum(shares[d] * logits[d] for d in nearest)
    coefficients = np.zeros(len(logits))
    coefficients[index] = 1.0
    for d in nearest:
        coefficients[d] = -alpha * shares[d] * (1 + logits[d] - mean)
    return coefficients
