"""A run's network as a function: class scores of preprocessed inputs, and their probabilities."""

from collections.abc import Sequence

import torch
from torch import Tensor

from camtool.apis import Explainer
from camtool.apis.probabilities import class_probabilities, learn_from
from camtool.errors import DataError
from camtool.instrumentation.calls import only_call
from camtool.instrumentation.network_inputs import network_inputs
from camtool.targets import ClassProbability, scores_in


class Classifier:
    """Returns the scores (n, classes) of preprocessed inputs (n, c, *spatial), without gradient.

    Args:
        explainer: of the network.
    """

    def __init__(self, explainer: Explainer) -> None:
        self._explainer = explainer
        self._scale: str | None = None
        self.device = next(explainer.network.model.parameters()).device

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return the scores; DataError if the network is no classifier."""
        network, cam = self._explainer.network, self._explainer.cam
        inputs = inputs.to(self.device)
        with only_call(network.model), torch.no_grad():
            arguments = network.inputs(inputs, cam.input_axes)
            given = network_inputs(network.model, arguments, network.source.picture_input, cam.input_axes, output=cam.output)
            scores = scores_in(given.run(network.model), batch=len(inputs))
        if not isinstance(scores, Tensor) or scores.ndim != 2:
            raise DataError("Expected a classifier, whose scores are (n, classes); other networks have no class to look at.")
        learn_from(scores, network, inputs, cam.input_axes, cam.output)
        self._scale = class_probabilities(network, scores)[1]
        return scores

    def targets(self, classes: Sequence[int], inputs: Tensor) -> list[ClassProbability]:
        """Return the probability of each class as a target, as this network's scores are to be read.

        Args:
            inputs: (n, c, *spatial); one of them goes through the network where none has yet.
        """
        if self._scale is None:
            self(inputs[:1])
        assert self._scale is not None
        return [ClassProbability(index, scale=self._scale) for index in classes]

    def probabilities(self, scores: Tensor) -> Tensor:
        """Return the probabilities (n, classes) of scores."""
        return class_probabilities(self._explainer.network, scores)[0]
