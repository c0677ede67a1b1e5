"""Every method once more, slow and literal: float64, loops over channels and positions, nothing of camtool or torch.

A replica takes one sample's `Sample` and returns its signed raw map. It follows the paper (or pytorch-grad-cam, where that is
the definition), not camtool's code.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Sample:
    """What a method may look at. `draws` are the random channel weights of methods that draw some."""

    activations: np.ndarray  # (c, *spatial)
    gradients: np.ndarray  # (c, *spatial)
    class_weights: np.ndarray  # (c,)
    draws: np.ndarray  # (c,)
    curvature: np.ndarray = field(default_factory=lambda: np.zeros(0))  # (c, *spatial), the Hessian times the activations
    picture: np.ndarray = field(default_factory=lambda: np.zeros(0))  # (channels, *size)
    score_of_activations: Callable[[np.ndarray], float] = lambda _: 0.0
    score_of_input: Callable[[np.ndarray], float] = lambda _: 0.0
    evidence_of_input: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]] = lambda picture: (picture, picture)
    """Activations and gradients of another picture."""
    noise: np.ndarray = field(default_factory=lambda: np.zeros(0))  # (samples, channels, *size), of a standard deviation of 1
    gradient_of_input: Callable[[np.ndarray], np.ndarray] = np.zeros_like
    contributions_from_zero: Callable[[np.ndarray], np.ndarray] = np.zeros_like
    mask_noise: np.ndarray = field(default_factory=lambda: np.zeros(0))  # (samples, *size), standard normal


REPLICAS: dict[str, Callable[[Sample], np.ndarray]] = {}
"""By command-line name: the map."""
TERMS: dict[str, Callable[[Sample], np.ndarray]] = {}
"""By command-line name: (c, *spatial), what is summed over channels, or fed to the principal component by eigen-smooth."""


def positions(channel: np.ndarray):
    return np.ndindex(*channel.shape)


def weighted(sample: Sample, weight_of: Callable[[np.ndarray, np.ndarray], float]) -> np.ndarray:
    """Return activations times one weight a channel."""
    terms = np.zeros_like(sample.activations)
    for k in range(len(sample.activations)):
        weight = weight_of(sample.activations[k], sample.gradients[k])
        for p in positions(sample.activations[k]):
            terms[k][p] = weight * sample.activations[k][p]
    return terms


def elementwise(sample: Sample, term_of: Callable[[float, float], float]) -> np.ndarray:
    """Return a function of activation and gradient at every channel and position."""
    terms = np.zeros_like(sample.activations)
    for k in range(len(sample.activations)):
        for p in positions(sample.activations[k]):
            terms[k][p] = term_of(sample.activations[k][p], sample.gradients[k][p])
    return terms


def channel_sum(terms: np.ndarray) -> np.ndarray:
    summed = np.zeros(terms.shape[1:])
    for p in positions(summed):
        for channel in terms:
            summed[p] += channel[p]
    return summed


def principal_component(terms: np.ndarray) -> np.ndarray:
    """Return each position's coordinate along the first right singular vector of the centred (positions, channels) matrix.

    The sign: positive correlation with the plain sum over channels of the same matrix.
    """
    where = list(positions(terms[0]))
    matrix = np.array([[channel[p] for channel in terms] for p in where])
    for k in range(matrix.shape[1]):
        matrix[:, k] = matrix[:, k] - sum(matrix[:, k]) / len(where)
    _, _, right = np.linalg.svd(matrix, full_matrices=True)
    coordinates = [float(np.dot(row, right[0])) for row in matrix]
    plain_sums = [float(sum(row)) for row in matrix]
    correlation = sum(coordinate * plain for coordinate, plain in zip(coordinates, plain_sums, strict=True))
    sign = -1.0 if correlation < 0 else 1.0
    component = np.zeros(terms.shape[1:])
    for p, coordinate in zip(where, coordinates, strict=True):
        component[p] = sign * coordinate
    return component


def larger_side_positive(component: np.ndarray) -> np.ndarray:
    return -component if abs(component.min()) > abs(component.max()) else component


def method(name: str, collapse: Callable[[np.ndarray], np.ndarray] = channel_sum):
    """Register the terms of a method under its name, with what turns them into a map."""

    def register(terms: Callable[[Sample], np.ndarray]) -> Callable[[Sample], np.ndarray]:
        TERMS[name] = terms
        REPLICAS[name] = lambda sample: collapse(terms(sample))
        return terms

    return register


def whole_map(name: str):
    """Register a replica of a method that is not a sum over channels."""

    def register(replica: Callable[[Sample], np.ndarray]) -> Callable[[Sample], np.ndarray]:
        REPLICAS[name] = replica
        return replica

    return register


@method("cam")
def cam(sample: Sample) -> np.ndarray:
    """Zhou 2016, eq. 2: M_c(x, y) = sum_k w_k^c f_k(x, y)."""
    terms = np.zeros_like(sample.activations)
    for k, weight in enumerate(sample.class_weights):
        for p in positions(sample.activations[k]):
            terms[k][p] = weight * sample.activations[k][p]
    return terms


@method("winsorcam")
@method("refinecam")
@method("gradcam")
def gradcam(sample: Sample) -> np.ndarray:
    """Selvaraju 2017, eq. 1: alpha_k = 1/Z sum_ij dy/dA_ij."""
    return weighted(sample, lambda _, gradient: sum(gradient[p] for p in positions(gradient)) / gradient.size)


@method("gradcam++")
def gradcam_plus_plus(sample: Sample) -> np.ndarray:
    """Chattopadhyay 2018, eqs. 10 and 19; 1e-12 of the largest g^2 keeps the denominator from 0; alpha is 0 where the gradient is."""
    largest = max(abs(g) for g in sample.gradients.ravel())

    def weight_of(activation: np.ndarray, gradient: np.ndarray) -> float:
        total = sum(activation[p] for p in positions(activation))
        weight = 0.0
        for p in positions(gradient):
            g = gradient[p]
            if g != 0:
                denominator = 2 * g**2 + total * g**3
                alpha = g**2 / (denominator + math.copysign(1e-12 * largest**2, denominator))
                weight += alpha * max(g, 0.0)
        return weight

    return weighted(sample, weight_of)


@method("xgradcam")
def xgradcam(sample: Sample) -> np.ndarray:
    """Fu 2020, eq. 8: w_k = sum_ij A_ij / sum(A) * dy/dA_ij; 1e-7 in the denominator."""

    def weight_of(activation: np.ndarray, gradient: np.ndarray) -> float:
        total = sum(activation[p] for p in positions(activation))
        return sum(activation[p] / (total + 1e-7) * gradient[p] for p in positions(activation))

    return weighted(sample, weight_of)


@method("layercam")
def layercam(sample: Sample) -> np.ndarray:
    """Jiang 2021, eq. 5: relu(g_ij) A_ij."""
    return elementwise(sample, lambda a, g: max(g, 0.0) * a)


@method("hirescam")
def hirescam(sample: Sample) -> np.ndarray:
    """Draelos 2020: g_ij A_ij."""
    return elementwise(sample, lambda a, g: g * a)


@method("cdam")
def cdam(sample: Sample) -> np.ndarray:
    """Brocki 2023: T_ij df/dT_ij of token i and feature j."""
    return elementwise(sample, lambda a, g: g * a)


@method("gradcamelementwise")
def gradcamelementwise(sample: Sample) -> np.ndarray:
    """pytorch-grad-cam: relu(g_ij A_ij)."""
    return elementwise(sample, lambda a, g: max(g * a, 0.0))


@method("eigencam", principal_component)
def eigencam(sample: Sample) -> np.ndarray:
    """Muhammad 2020: the first component of the activations themselves."""
    return elementwise(sample, lambda a, _: a)


@whole_map("kpcacam")
def kpcacam(sample: Sample) -> np.ndarray:
    """Karmani 2024, as in pytorch-grad-cam: KernelPCA of scikit-learn, kernel tanh(<a, b> / C + 1), of the channels less their means.

    The sign: positive correlation with the plain sum over channels.
    """
    where = list(positions(sample.activations[0]))
    matrix = np.array([[channel[p] for channel in sample.activations] for p in where])
    for k in range(matrix.shape[1]):
        matrix[:, k] = matrix[:, k] - sum(matrix[:, k]) / len(where)
    kernel = np.array([[math.tanh(np.dot(a, b) / matrix.shape[1] + 1) for b in matrix] for a in matrix])
    means = [sum(row) / len(where) for row in kernel]
    centred = np.zeros_like(kernel)
    for i in range(len(where)):
        for j in range(len(where)):
            centred[i, j] = kernel[i, j] - means[i] - means[j] + sum(means) / len(where)
    values, vectors = np.linalg.eigh(centred)
    coordinates = vectors[:, -1] * math.sqrt(values[-1])
    if sum(coordinate * sum(row) for coordinate, row in zip(coordinates, matrix, strict=True)) < 0:
        coordinates = -coordinates
    component = np.zeros(sample.activations.shape[1:])
    for p, coordinate in zip(where, coordinates, strict=True):
        component[p] = coordinate
    return component


@method("eigengradcam", principal_component)
def eigengradcam(sample: Sample) -> np.ndarray:
    """pytorch-grad-cam: the first component of gradient * activation."""
    return elementwise(sample, lambda a, g: g * a)


@method("segeigencam", lambda terms: larger_side_positive(principal_component(terms)))
def segeigencam(sample: Sample) -> np.ndarray:
    """Chung 2025, eq. 10: the first component of |g| A; eq. 13: flipped if its minimum is the larger side."""
    return elementwise(sample, lambda a, g: abs(g) * a)


@method("shapleycam")
def shapleycam(sample: Sample) -> np.ndarray:
    """Cai 2025, as in pytorch-grad-cam: the mean over positions of g - (H A) / 2."""
    terms = np.zeros_like(sample.activations)
    for k, (gradient, curvature) in enumerate(zip(sample.gradients, sample.curvature, strict=True)):
        weight = sum(gradient[p] - curvature[p] / 2 for p in positions(gradient)) / gradient.size
        for p in positions(gradient):
            terms[k][p] = weight * sample.activations[k][p]
    return terms


@method("fem")
def fem(sample: Sample) -> np.ndarray:
    """Fuad 2020: the share of positions above mean + k standard deviations, k = 2 (see `fem_of`)."""
    return fem_of(sample, k=2.0)


def fem_of(sample: Sample, k: float) -> np.ndarray:
    def weight_of(activation: np.ndarray, gradient: np.ndarray) -> float:
        values = [activation[p] for p in positions(activation)]
        mean = sum(values) / len(values)
        deviation = (sum((value - mean) ** 2 for value in values) / len(values)) ** 0.5
        return sum(1 for value in values if value > mean + k * deviation) / len(values)

    return weighted(sample, weight_of)


@method("randomcam")
def randomcam(sample: Sample) -> np.ndarray:
    """pytorch-grad-cam: one weight a channel from U(-1, 1)."""
    terms = np.zeros_like(sample.activations)
    for k, weight in enumerate(sample.draws):
        for p in positions(sample.activations[k]):
            terms[k][p] = weight * sample.activations[k][p]
    return terms


@whole_map("centercam")
def centercam(sample: Sample) -> np.ndarray:
    """A Gaussian of distance from the middle, in shares of each axis' length, standard deviation a quarter."""
    raw = np.zeros(sample.activations.shape[1:])
    for p in positions(raw):
        squared = sum(((index + 0.5) / length - 0.5) ** 2 for index, length in zip(p, raw.shape, strict=True))
        raw[p] = math.exp(-squared / (2 * 0.25**2))
    return raw


@whole_map("edgecam")
def edgecam(sample: Sample) -> np.ndarray:
    """Root of the sum of squared Sobel derivatives, averaged over the input's positions that a cell of the grid touches."""
    size, grid = sample.picture.shape[1:], sample.activations.shape[1:]
    magnitude = np.zeros(size)
    for p in positions(magnitude):
        total = 0.0
        for colour in sample.picture:
            for axis in range(len(size)):
                derivative = 0.0
                for step in itertools.product((-1, 0, 1), repeat=len(size)):
                    kernel = math.prod(s / 2 if a == axis else (2 - abs(s)) / 4 for a, s in enumerate(step))
                    derivative += kernel * colour[tuple(min(max(i + s, 0), n - 1) for i, s, n in zip(p, step, size, strict=True))]
                total += derivative**2
        magnitude[p] = math.sqrt(total)
    raw = np.zeros(grid)
    for p in positions(raw):
        touched = [range(i * n // g, -(-(i + 1) * n // g)) for i, n, g in zip(p, size, grid, strict=True)]
        values = [magnitude[q] for q in itertools.product(*touched)]
        raw[p] = sum(values) / len(values)
    return raw


# The pipeline behind every method: ReLU, min-max, linear resize, ReLU, mean over layers, min-max.


def relu(raw: np.ndarray) -> np.ndarray:
    return np.array([max(value, 0.0) for value in raw.ravel()]).reshape(raw.shape)


def min_max(raw: np.ndarray) -> np.ndarray:
    """y = x - min(x); y / max(y), zeros where that is 0."""
    shifted = raw - min(raw.ravel())
    return shifted / (max(shifted.ravel()) or 1.0)


def resize(raw: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Linear along each axis, pixel centres aligned (align_corners=False), edges repeated."""
    resized = np.zeros(size)
    for p in np.ndindex(*size):
        neighbours = []
        for axis, index in enumerate(p):
            centre = (index + 0.5) * raw.shape[axis] / size[axis] - 0.5
            centre = max(centre, 0.0)
            low = int(centre)
            high = min(low + 1, raw.shape[axis] - 1)
            share = centre - low
            neighbours.append([(low, 1 - share), (high, share)])
        for corner in itertools.product(*neighbours):
            value = raw[tuple(index for index, _ in corner)]
            for _, share in corner:
                value = value * share
            resized[p] += value
    return resized


def pipeline(raws: list[np.ndarray], size: tuple[int, ...]) -> np.ndarray:
    """Return the final map of one sample from its raw maps by layer."""
    total = np.zeros(size)
    for raw in raws:
        total += relu(resize(min_max(relu(raw)), size))
    return min_max(total / len(raws))
