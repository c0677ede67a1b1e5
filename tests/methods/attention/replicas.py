"""Every attention method once more, slow and literal: float64, loops over tokens, nothing of camtool or torch.

A replica takes one sample's `Sample` and returns the relevance of every token. It follows the paper.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass
class Sample:
    """What a method may look at: by layer, first to last, (heads, length, length) each."""

    weights: list[np.ndarray]
    scores: list[np.ndarray]
    gradients: list[np.ndarray]
    layer_gradients: list[np.ndarray]
    rows: list[int]
    """Tokens that the score reads."""


def identity(length: int) -> np.ndarray:
    return np.array([[1.0 if i == j else 0.0 for j in range(length)] for i in range(length)])


def product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    length = len(left)
    result = np.zeros((length, length))
    for i in range(length):
        for j in range(length):
            result[i, j] = sum(left[i, k] * right[k, j] for k in range(length))
    return result


def head_mean(term_of: Callable[[int, int, int], float], heads: int, length: int) -> np.ndarray:
    """Return the mean over heads of term_of(head, query, key)."""
    result = np.zeros((length, length))
    for i in range(length):
        for j in range(length):
            result[i, j] = sum(term_of(h, i, j) for h in range(heads)) / heads
    return result


def normalised(matrix: np.ndarray) -> np.ndarray:
    return np.array([[value / sum(row) for value in row] for row in matrix])


def read(sample: Sample, matrix: np.ndarray) -> np.ndarray:
    return np.array([sum(matrix[row, j] for row in sample.rows) / len(sample.rows) for j in range(matrix.shape[1])])


def positive_parts(sample: Sample) -> list[np.ndarray]:
    """Return by layer mean_h relu(gradient * attention)."""
    parts = []
    for attention, gradient in zip(sample.weights, sample.gradients, strict=True):
        heads, length, _ = attention.shape
        parts.append(head_mean(lambda h, i, j, a=attention, g=gradient: max(a[h, i, j] * g[h, i, j], 0.0), heads, length))
    return parts


def rollout(sample: Sample) -> np.ndarray:
    """Abnar & Zuidema 2020: A = 0.5 W + 0.5 I, rollout(1) = A(1), rollout(i) = A(i) rollout(i - 1)."""
    rolled = None
    for attention in sample.weights:
        heads, length, _ = attention.shape
        mean = head_mean(lambda h, i, j, a=attention: a[h, i, j], heads, length)
        mixed = normalised(0.5 * mean + 0.5 * identity(length))
        rolled = mixed if rolled is None else product(mixed, rolled)
    assert rolled is not None
    return read(sample, rolled)


def gradrollout(sample: Sample) -> np.ndarray:
    """Chefer 2021a, attention in place of relevance: A = I + mean_h relu(gradient * W), rows normalised, multiplied."""
    rolled = None
    for part in positive_parts(sample):
        mixed = normalised(identity(len(part)) + part)
        rolled = mixed if rolled is None else product(mixed, rolled)
    assert rolled is not None
    return read(sample, rolled)


def genericattention(sample: Sample) -> np.ndarray:
    """Chefer 2021b: R = I; R = R + mean_h relu(gradient * W) R."""
    relevance = identity(sample.weights[0].shape[1])
    for part in positive_parts(sample):
        relevance = relevance + product(part, relevance)
    return read(sample, relevance)


def legrad(sample: Sample, layers: Sequence[int] | None = None) -> np.ndarray:
    """Bousselham 2025: mean over layers (all, or these), heads and queries of relu(d s_l / d A_l)."""
    length = sample.weights[0].shape[1]
    relevance = np.zeros(length)
    chosen = [gradient for layer, gradient in enumerate(sample.layer_gradients) if layers is None or layer in layers]
    for j in range(length):
        values = [max(gradient[h, i, j], 0.0) for gradient in chosen for h in range(len(gradient)) for i in range(length)]
        relevance[j] = sum(values) / len(values)
    return relevance


def agcam(sample: Sample) -> np.ndarray:
    """Leem & Seo 2024: sum over layers and heads of relu(gradient) * sigmoid(scores)."""
    length = sample.weights[0].shape[1]
    total = np.zeros((length, length))
    for scores, gradient in zip(sample.scores, sample.gradients, strict=True):
        for h, i, j in np.ndindex(*scores.shape):
            total[i, j] += max(gradient[h, i, j], 0.0) / (1 + math.exp(-scores[h, i, j]))
    return read(sample, total)


REPLICAS: dict[str, Callable[[Sample], np.ndarray]] = {
    "rollout": rollout,
    "gradrollout": gradrollout,
    "genericattention": genericattention,
    "legrad": legrad,
    "agcam": agcam,
}

# One layer, two heads, a class token and two patches, worked by hand; only the class token's query has a gradient.
#   A row 0:  1/2 1/4 1/4 | 0 1/2 1/2     gradient row 0:  1 2 -4 | 0 -2 4     scores row 0:  0 0 ln 3 | 0 0 0
LN3 = math.log(3)
EXAMPLE = Sample(
    weights=[np.array([[[0.5, 0.25, 0.25], [0, 1, 0], [0, 0, 1]], [[0, 0.5, 0.5], [0, 1, 0], [0, 0, 1]]])],
    scores=[np.array([[[0.0, 0.0, LN3], [0, 0, 0], [0, 0, 0]], [[0.0, 0, 0], [0, 0, 0], [0, 0, 0]]])],
    gradients=[np.array([[[1.0, 2.0, -4.0], [0, 0, 0], [0, 0, 0]], [[0.0, -2.0, 4.0], [0, 0, 0], [0, 0, 0]]])],
    layer_gradients=[np.array([[[3.0, -3.0, 0.0], [0, 0, 3], [0, 0, 0]], [[0.0, 6.0, 0.0], [0, 0, 0], [0, 0, -3]]])],
    rows=[0],
)
EXPECTED = {
    # mean over heads 1/4 3/8 3/8, plus I 5/4 3/8 3/8, over its sum 2
    "rollout": [0.625, 0.1875, 0.1875],
    # relu(g A) 1/2 1/2 0 | 0 0 2, mean 1/4 1/4 1, plus I 5/4 1/4 1, over its sum 5/2
    "gradrollout": [0.5, 0.1, 0.4],
    # I + mean 1/4 1/4 1
    "genericattention": [1.25, 0.25, 1.0],
    # positive: 3 + 0, 0 + 6, 3 + 0; over 2 heads and 3 queries
    "legrad": [0.5, 1.0, 0.5],
    # relu(g) 1 2 0 | 0 0 4 times sigmoid 1/2 1/2 3/4 | 1/2 1/2 1/2
    "agcam": [0.5, 1.0, 2.0],
}
