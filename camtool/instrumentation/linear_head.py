"""The linear head of a network that ends in global average pooling, as the original CAM needs it."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from camtool.errors import LayerError, MethodError, warn
from camtool.functional import spatial_mean
from camtool.instrumentation.layer_paths import find_layer
from camtool.instrumentation.traversal import modules_of
from camtool.types import Maps

TOLERANCE = 1e-2  # relative; bfloat16 networks round their logits to three digits


@dataclass(frozen=True)
class LinearHead:
    """A linear layer: logits = pooled activations @ weight.T + bias."""

    weight: Float[Tensor, "classes c"]
    """For the channels of the maps. Where several of them are one channel of the head, such as those of a feature at each frequency of a
    spectrogram, each has an equal part of its weight: the head reads their mean."""
    bias: Float[Tensor, " classes"]


def find_linear_head(
    model: nn.Module,
    activations: Maps,
    logits: Float[Tensor, "n classes"],
    classifier: str | None = None,
    channel_axes: Sequence[int] = (),
) -> LinearHead:
    """Return the linear layer (or 1x1 convolution) that turns the activations' spatial mean into the logits.

    It is found by its output, not by its name or shape. One that is named by its path, the `classifier`, must have the shape; that it
    gives the logits is not required, and a remark says if it does not.

    Args:
        channel_axes: lengths of the axes that the maps' channels are together; see `Layout.channel_axes`. The layer may read them in any
            order, and the mean over some of them: each feature's mean over the frequencies of a spectrogram.

    Raises:
        MethodError: if there is none, because the head pools otherwise or has more than one layer, or the named layer does not fit.
    """
    pooled = spatial_mean(activations).flatten(1).to(logits.dtype)
    if classifier is not None:
        return _named(model, classifier, pooled, logits, channel_axes)
    for module in modules_of(model):
        layer = _as_linear(module, logits.dtype)
        if layer is None or len(layer.weight) != logits.shape[-1]:
            continue
        for head in _over_channels(layer, channel_axes or pooled.shape[1:]):
            if _gives(head, pooled, logits):
                return head
    raise MethodError(
        "Method 'cam' is defined for networks that end in global average pooling and one linear layer, applied to the target "
        "layer's output; this network's scores are computed otherwise. Use 'gradcam', its generalisation, or the layer that "
        "is pooled; or name the linear layer whose weights you mean: 'cam(classifier=PATH)'."
    )


def _named(
    model: nn.Module, classifier: str, pooled: Float[Tensor, "n c"], logits: Float[Tensor, "n classes"], channel_axes: Sequence[int]
) -> LinearHead:
    try:
        path, module = find_layer(model, classifier)
    except LayerError as error:
        raise MethodError(f"Method 'cam', classifier: {error}") from error
    layer = _as_linear(module, logits.dtype)
    if layer is None:
        raise MethodError(
            f"Method 'cam': expected as classifier a linear layer or a 1x1 convolution, got '{path}', {type(module).__name__}."
        )
    fits = logits.ndim == 2 and len(layer.weight) == logits.shape[1]
    heads = list(_over_channels(layer, channel_axes or pooled.shape[1:])) if fits else []
    if not heads:
        channels, (outputs, inputs) = "x".join(map(str, channel_axes or pooled.shape[1:])), layer.weight.shape
        raise MethodError(
            f"Method 'cam': expected as classifier a layer from the target layer's {channels} channels to the {logits.shape[-1]} scores, "
            f"got '{path}', from {inputs} to {outputs}. Try another layer, or another target layer."
        )
    found = next((head for head in heads if _gives(head, pooled, logits)), None)
    if found is None:
        warn(
            f"Method 'cam': the weights of '{path}' are used as asked, but the mean of the target layer times these weights is not the "
            "network's scores: something lies between."
        )
    return heads[0] if found is None else found


def _over_channels(layer: LinearHead, channel_axes: Sequence[int]) -> Iterator[LinearHead]:
    """Yield the ways in which a linear layer may read channels that are so many axes together, the most usual first."""
    channels, inputs = math.prod(channel_axes), layer.weight.shape[1]
    coordinates = torch.unravel_index(torch.arange(channels, device=layer.weight.device), tuple(channel_axes))
    axes = range(len(channel_axes))
    for kept in itertools.chain.from_iterable(itertools.permutations(axes, count) for count in (*axes[1:], len(axes))):
        if math.prod(channel_axes[axis] for axis in kept) == inputs:
            places = torch.zeros_like(coordinates[0])
            for axis in kept:
                places = places * channel_axes[axis] + coordinates[axis]
            yield LinearHead(layer.weight[:, places] * (inputs / channels), layer.bias)


def _gives(head: LinearHead, pooled: Float[Tensor, "n c"], logits: Float[Tensor, "n classes"]) -> bool:
    """Return whether the head turns the pooled activations into the logits."""
    predicted = pooled @ head.weight.T + head.bias
    scale = logits.abs().amax().clamp(min=1e-6)
    return logits.shape == predicted.shape and bool((predicted - logits).abs().amax() <= TOLERANCE * scale)


def _as_linear(module: nn.Module, dtype: torch.dtype) -> LinearHead | None:
    if not isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        return None
    if not isinstance(module, nn.Linear) and (set(module.kernel_size) != {1} or module.groups != 1):
        return None
    weight = module.weight.detach().flatten(1).to(dtype)
    bias = module.bias
    return LinearHead(weight, torch.zeros_like(weight[:, 0]) if bias is None else bias.detach().to(dtype))
