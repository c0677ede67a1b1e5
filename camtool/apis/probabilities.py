"""Class probabilities of a network's scores: by softmax or sigmoid, or the scores themselves where the network applied these already."""

from typing import Any

from torch import Tensor

from camtool.errors import warn
from camtool.instrumentation.ending import last_activation, may_be_probabilities, sum_to_one
from camtool.models import Network
from camtool.targets import OutputName

AS_THEY_ARE = "probability"
"""The scale of scores that are probabilities already."""


def class_probabilities(network: Network, scores: Tensor) -> tuple[Tensor, str]:
    """Return (probabilities (n, classes) in [0, 1]; "softmax", "sigmoid", or "probability" for scores that are such already)."""
    return (scores.float(), AS_THEY_ARE) if network.gives_probabilities else network.probabilities(scores)


def learn_from(scores: Any, network: Network, inputs: Tensor, axes: str | None, output: OutputName = None) -> bool:
    """Set `network.gives_probabilities` if it is not known yet; return whether it is known now that the scores are probabilities.

    Scores outside of [0, 1] are none, which costs nothing to see. Others may be logits by chance: a forward pass tells whether they
    come from a softmax or a sigmoid. What else is non-negative and sums to 1, as a mean of softmaxes, is taken for probabilities, too.
    The first time it is said, as a warning.

    Args:
        inputs: (n, c, h, w), preprocessed.
        axes: as of `Network.inputs`.
        output: name of the output that the scores are; None: the first scores.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from camtool.apis.probabilities import class_probabilities
        >>> from camtool.config.loading import load_config
        >>> from camtool.models.loading import load_network
        >>> network = load_network(load_config("torchvision/squeezenet1_1"), random_weights=True)
        >>> learn_from(torch.tensor([[-2.0, 2.0]]), network, torch.zeros(1, 3, 64, 64), None)
        False
        >>> class_probabilities(network, torch.tensor([[0.0, 0.0]]))
        (tensor([[0.5000, 0.5000]]), 'softmax')
    """
    if network.gives_probabilities is not None or not isinstance(scores, Tensor) or scores.ndim != 2:
        return False
    if not may_be_probabilities(scores):
        network.gives_probabilities = False
        return False
    ending = last_activation(network.model, network.inputs(inputs, axes), network.source.picture_input, axes, output)
    network.gives_probabilities = bool(ending) or sum_to_one(scores)
    if network.gives_probabilities:
        why = f"The network ends in {ending}" if ending else "The network's outputs are non-negative and sum to 1"
        warn(f"{why}; its outputs are already probabilities, and are shown as they are.")
    return network.gives_probabilities
