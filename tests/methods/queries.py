"""Networks that are formulas: what methods ask of them can be worked out by hand, and by replicas, in float64."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from camtool.methods._base import Copies, Evidence
from camtool.targets import Target


def score_of_activations(activations: np.ndarray) -> float:
    """Return a score that is not linear, of one sample (c, *spatial): each channel's positive part by its number, and the spread."""
    total = 0.0
    for k, channel in enumerate(activations):
        total += (k + 1) * np.maximum(channel, 0).sum() / 10 - 0.05 * (channel.mean() - 0.3) ** 2
    return float(total)


def score_of_input(picture: np.ndarray) -> float:
    """Return a score of one sample (channels, *size): not linear, and different at every position."""
    places = np.linspace(-1, 1, picture[0].size).reshape(picture.shape[1:])
    return float(sum((places * channel).sum() + 0.2 * (channel**2).sum() * (k + 1) for k, channel in enumerate(picture)) / 5)


def gradient_of_input(picture: np.ndarray) -> np.ndarray:
    """Return the derivative of `score_of_input`."""
    places = np.linspace(-1, 1, picture[0].size).reshape(picture.shape[1:])
    return np.stack([(places + 0.4 * channel * (k + 1)) / 5 for k, channel in enumerate(picture)])


def contributions_from_zero(activations: np.ndarray) -> np.ndarray:
    """Return DeepLIFT's contributions to `score_of_activations`, of one sample, compared with zeros.

    The positive part of a counts (k + 1) max(a, 0) / 10. The square moves by -0.05 (m^2 - 0.6 m) while the mean m moves by m, to
    which a contributes a / N.
    """
    terms = np.zeros_like(activations)
    for k, channel in enumerate(activations):
        for p in np.ndindex(*channel.shape):
            terms[k][p] = (k + 1) * max(channel[p], 0.0) / 10 - 0.05 * (channel.mean() - 0.6) * channel[p] / channel.size
    return terms


class Formula:
    """An queries of the formulas above; a layer's activations and gradients change with the mean of the inputs."""

    score_of_activations = staticmethod(score_of_activations)
    score_of_input = staticmethod(score_of_input)
    contributions_of = staticmethod(contributions_from_zero)
    gradient_of_input = staticmethod(gradient_of_input)

    def __init__(self, inputs: Tensor, activations: Tensor, gradients: Tensor, class_weights: Tensor) -> None:
        self.inputs = inputs
        self.scores = torch.tensor([self.score_of_input(picture.numpy()) for picture in inputs], dtype=torch.float64)
        self._activations = activations
        self._gradients = gradients
        self._class_weights = class_weights

    def scores_of_activations(self, count: int, copies: Copies) -> Tensor:
        return _scored(count, copies, self.score_of_activations)

    def scores_of_inputs(self, count: int, copies: Copies) -> Tensor:
        return _scored(count, copies, self.score_of_input)

    def score_and_gradients(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        scores = torch.tensor([self.score_of_input(picture.numpy()) for picture in inputs.detach()], dtype=torch.float64)
        return scores, torch.from_numpy(np.stack([self.gradient_of_input(picture.numpy()) for picture in inputs.detach()]))

    def contributions_from_zero(self) -> Tensor:
        return torch.from_numpy(np.stack([self.contributions_of(one.numpy()) for one in self._activations]))

    def scores_as(self, change: Callable[[Target], Target]) -> Tensor:
        return self.scores  # formulas have no targets

    def report(self, done: int, total: int) -> None:
        assert 0 < done <= total

    def evidence_of(self, inputs: Sequence[Tensor], *, gradients: bool = True) -> list[Evidence]:
        found = []
        for picture in inputs:
            changes = torch.stack([torch.tensor(change_of_input(one.numpy()), dtype=torch.float64) for one in picture])
            change = changes.view(-1, *[1] * (self._activations.ndim - 1))
            activations, gradients_there = self._activations + change, self._gradients * (1 + change)
            queries = type(self)(picture, activations, gradients_there, self._class_weights)
            found.append(Evidence(activations, gradients_there, lambda: self._class_weights, model_queries=queries))
        return found


class ByHand(Formula):
    """Scores that are easy sums: of activations 2 A1 - A2 over all positions, of the input each position times 1, 2, 3, 4."""

    @staticmethod
    def score_of_activations(activations: np.ndarray) -> float:
        return float(2 * activations[0].sum() - activations[1].sum())

    @staticmethod
    def contributions_of(activations: np.ndarray) -> np.ndarray:
        return np.stack([2 * activations[0], -activations[1]])

    @staticmethod
    def score_of_input(picture: np.ndarray) -> float:
        return float((picture[0] * [[1, 2], [3, 4]]).sum())

    @staticmethod
    def gradient_of_input(picture: np.ndarray) -> np.ndarray:
        return np.array([[[1.0, 2.0], [3.0, 4.0]]]) * np.ones_like(picture)


def change_of_input(picture: np.ndarray) -> float:
    """Return what `Formula.evidence_of` adds to activations for one sample's inputs."""
    return float(picture.mean())


def _scored(count: int, copies: Copies, score: Callable[[np.ndarray], float]) -> Tensor:
    """Ask for the copies in ranges of three, the last one shorter."""
    found = []
    for start in range(0, count, 3):
        altered = copies(start, min(start + 3, count))
        found.append(torch.tensor([[score(copy.numpy()) for copy in sample] for sample in altered], dtype=torch.float64))
    return torch.cat(found, dim=1)
