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


@method("polycam")
def polycam(sample: Sample) -> np.ndarray:
    """Englebert 2022, PCAM+/-: what the mask shows, and by how much the score falls behind its inverse."""
    return polycam_of(sample, 1, 1)


def polycam_of(sample: Sample, of_shown: int, of_hidden: int) -> np.ndarray:
    weights = []
    for channel in sample.activations:
        mask = mask_of(channel, sample.picture.shape[1:])
        weight = 0.0
        if mask is not None and of_shown:
            weight += score_through(sample, mask)
        if mask is not None and of_hidden:
            whole = sample.score_of_activations(sample.activations)
            weight = max(weight + whole - score_through(sample, 1 - mask), 0.0)
        weights.append(weight)
    return weighted_by(weights, sample.activations)


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
            np.array([min(max(value, 0.0), 1.0) for value in (mask + 2 * noise).ravel()]).reshape(mask.shape) for noise in sample.mask_noise
        ]
        scores.append(sum(score_through(sample, one) for one in noisy) / len(noisy))
    return weighted_by(softmax(scores), sample.activations)


@whole_map("groupcam")
def groupcam(sample: Sample) -> np.ndarray:
    """Zhang 2021: 32 groups, 70 % of each mask cut away, a blur of 51 pixels with sigma 50 (see `groupcam_of`)."""
    return groupcam_of(sample, groups=32)


def groupcam_of(sample: Sample, groups: int) -> np.ndarray:
    channels = len(sample.activations)
    blurred = np.stack([blurred_by_50(colour) for colour in sample.picture])
    raw = np.zeros(sample.activations.shape[1:])
    size = math.ceil(channels / groups)
    for start in range(0, channels, size):
        total = np.zeros_like(raw)
        for k in range(start, min(start + size, channels)):
            weight = sum(sample.gradients[k].ravel()) / sample.gradients[k].size
            for p in positions(total):
                total[p] += weight * sample.activations[k][p]
        positive = np.maximum(total, 0)
        threshold = np.percentile(positive, 70)
        for p in positions(positive):
            positive[p] = positive[p] if positive[p] > threshold else 0.0
        large = resize(positive, sample.picture.shape[1:])
        lowest, highest = min(large.ravel()), max(large.ravel())
        if lowest == highest:
            continue
        mask = (large - lowest) / (highest - lowest)
        shown = np.stack([mask * sharp + (1 - mask) * soft for sharp, soft in zip(sample.picture, blurred, strict=True)])
        rise = sample.score_of_input(shown) - sample.score_of_input(blurred)
        for p in positions(raw):
            raw[p] += rise * (positive[p] - lowest) / (highest - lowest)
    return raw


def blurred_by_50(picture: np.ndarray) -> np.ndarray:
    """Return one colour under a Gaussian of 51 pixels and sigma 50, at most as wide as its edges can be mirrored."""
    for axis, length in enumerate(picture.shape):
        reach = min(25, length - 1)
        soft = np.zeros_like(picture)
        for p in positions(picture):
            total = 0.0
            for offset in range(-reach, reach + 1):
                place = abs(p[axis] + offset)
                place = place if place < length else 2 * (length - 1) - place
                weight = math.exp(-(offset**2) / (2 * 50**2))
                total += weight
                soft[p] += weight * picture[(*p[:axis], place, *p[axis + 1 :])]
            soft[p] /= total
        picture = soft
    return picture


@method("opticam")
def opticam(sample: Sample) -> np.ndarray:
    """Zhang 2023: softmax of what 50 steps of Adam at a rate of 0.1 find, gradients by the chain rule."""
    large = [resize(channel, sample.picture.shape[1:]) for channel in sample.activations]
    logits = [0.0 for _ in large]
    first, second = list(logits), list(logits)
    for step in range(1, 51):
        weights = softmax(logits)
        saliency = sum(weight * channel for weight, channel in zip(weights, large, strict=True))
        lowest, highest = np.unravel_index(saliency.argmin(), saliency.shape), np.unravel_index(saliency.argmax(), saliency.shape)
        span = saliency[highest] - saliency[lowest]
        mask = (saliency - saliency[lowest]) / span
        of_mask = (sample.gradient_of_input(np.stack([colour * mask for colour in sample.picture])) * sample.picture).sum(axis=0)
        of_weights = []
        for channel in large:
            change = (channel - channel[lowest]) / span - mask * (channel[highest] - channel[lowest]) / span
            of_weights.append(float((of_mask * change).sum()))
        mean = sum(weight * slope for weight, slope in zip(weights, of_weights, strict=True))
        for k, slope in enumerate(of_weights):
            gradient = weights[k] * (slope - mean)
            first[k] = 0.9 * first[k] + 0.1 * gradient
            second[k] = 0.999 * second[k] + 0.001 * gradient**2
            logits[k] += 0.1 * (first[k] / (1 - 0.9**step)) / (math.sqrt(second[k] / (1 - 0.999**step)) + 1e-8)
    return weighted_by(softmax(logits), sample.activations)


@method("liftcam")
def liftcam(sample: Sample) -> np.ndarray:
    """Jung 2021: the sum over positions of what each activation contributes to the score, compared with zeros."""
    contributions = sample.contributions_from_zero(sample.activations)
    return weighted_by([sum(channel.ravel()) for channel in contributions], sample.activations)
