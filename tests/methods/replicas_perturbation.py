"""Replicas of the methods that put questions to the network; as literal as those of `tests.methods.replicas`."""

import math

import numpy as np

from tests.methods.replicas import Sample, method, positions, resize, whole_map


@method("ablationcam")
def ablationcam(sample: Sample) -> np.ndarray:
    """Desai 2020: the score less the score with channel k set to zero."""
    terms = np.zeros_like(sample.activations)
    for k in range(len(sample.activations)):
        without = sample.activations.copy()
        without[k] = 0
        fall = sample.score_of_activations(sample.activations) - sample.score_of_activations(without)
        for p in positions(sample.activations[k]):
            terms[k][p] = fall * sample.activations[k][p]
    return terms


@whole_map("reciprocam")
def reciprocam(sample: Sample) -> np.ndarray:
    """Byun 2022: the score with all positions but one set to zero, less that of zeros."""
    scores = np.zeros(sample.activations.shape[1:])
    nothing = sample.score_of_activations(np.zeros_like(sample.activations))
    for p in positions(scores):
        kept = np.zeros_like(sample.activations)
        for k in range(len(kept)):
            kept[k][p] = sample.activations[k][p]
        scores[p] = sample.score_of_activations(kept) - nothing
    return scores


def mask_of(channel: np.ndarray, size: tuple[int, ...]) -> np.ndarray | None:
    """Return the channel resized to the input and scaled to [0, 1]; None where it is the same everywhere."""
    large = resize(channel, size)
    lowest, highest = min(large.ravel()), max(large.ravel())
    return None if lowest == highest else (large - lowest) / (highest - lowest)


def score_through(sample: Sample, mask: np.ndarray) -> float:
    return sample.score_of_input(np.stack([colour * mask for colour in sample.picture]))


def softmax(scores: list[float]) -> list[float]:
    """Return weights that sum to 1, or zeros where no score is finite."""
    if max(scores) == -math.inf:
        return [0.0 for _ in scores]
    exponentials = [math.exp(score - max(scores)) for score in scores]
    return [exponential / sum(exponentials) for exponential in exponentials]


def weighted_by(weights: list[float], activations: np.ndarray) -> np.ndarray:
    terms = np.zeros_like(activations)
    for k, weight in enumerate(weights):
        for p in positions(activations[k]):
            terms[k][p] = weight * activations[k][p]
    return terms


@method("scorecam")
def scorecam(sample: Sample) -> np.ndarray:
    """Wang 2020: softmax over channels of the score of the input times the channel, resized and scaled to [0, 1]."""
    scores = []
    for channel in sample.activations:
        mask = mask_of(channel, sample.picture.shape[1:])
        scores.append(-math.inf if mask is None else score_through(sample, mask))
    return weighted_by(softmax(scores), sample.activations)


@method("fastercam")
def fastercam(sample: Sample) -> np.ndarray:
    """tabayashi0117: Score-CAM with the k channels of the largest variance, k = 10 (see `fastercam_of`)."""
    return fastercam_of(sample, k=10)


def fastercam_of(sample: Sample, k: int) -> np.ndarray:
    spreads = []
    for channel in sample.activations:
        mean = sum(channel.ravel()) / channel.size
        spreads.append(sum((value - mean) ** 2 for value in channel.ravel()) / channel.size)
    chosen = sorted(range(len(spreads)), key=lambda number: -spreads[number])[:k]
    scores = []
    for number, channel in enumerate(sample.activations):
        mask = mask_of(channel, sample.picture.shape[1:]) if number in chosen else None
        scores.append(-math.inf if mask is None else score_through(sample, mask))
    return weighted_by(softmax(scores), sample.activations)


@method("iscam")
def iscam(sample: Sample) -> np.ndarray:
    """Naidu 2020: the mean score of the input times 1/10, 2/10, ... of the mask."""
    scores = []
    for channel in sample.activations:
        mask = mask_of(channel, sample.picture.shape[1:])
        scores.append(-math.inf if mask is None else sum(score_through(sample, i / 10 * mask) for i in range(1, 11)) / 10)
    return weighted_by(softmax(scores), sample.activations)


@method("sscam")
def sscam(sample: Sample) -> np.ndarray:
    """Wang 2020: the mean score of the input times the mask with noise of 2 standard deviations, clipped to [0, 1]."""
    scores = []
    for channel in sample.activations:
        mask = mask_of(channel, sample.picture.shape[1:])
        if mask is None:
            scores.append(-math.inf)
            continue
        noisy = [
            np.array([min(max(value, 0.0), 1.0) for value in (mask + 2 * noise).ravel()]).reshape(mask.shape) for noise in sample.noise
        ]
        scores.append(sum(score_through(sample, one) for one in noisy) / len(noisy))
    return weighted_by(softmax(scores), sample.activations)
