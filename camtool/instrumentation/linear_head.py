"""The linear head of a network that ends in global average pooling, as the original CAM needs it."""

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
    bias: Float[Tensor, " classes"]


def find_linear_head(model: nn.Module, activations: Maps, logits: Float[Tensor, "n classes"], classifier: str | None = None) -> LinearHead:
    """Return the linear layer (or 1x1 convolution) that turns the activations' spatial mean into the logits.

    It is found by its output, not by its name or shape. One that is named by its path, the `classifier`, must have the shape; that it
    gives the logits is not required, and a remark says if it does not.

    Raises:
        MethodError: if there is none, because the head pools otherwise or has more than one layer, or the named layer does not fit.
    """
    pooled = spatial_mean(activations).flatten(1).to(logits.dtype)
    if classifier is not None:
        return _named(model, classifier, pooled, logits)
    for module in modules_of(model):
        head = _as_linear(module, logits.dtype)
        if head is None or head.weight.shape != (logits.shape[-1], pooled.shape[1]):
            continue
        if _gives(head, pooled, logits):
            return head
    raise MethodError(
        "Method 'cam' is defined for networks that end in global average pooling and one linear layer, applied to the target "
        "layer's output; this network's scores are computed otherwise. Use 'gradcam', its generalisation, or the layer that "
        "is pooled; or name the linear layer whose weights you mean: 'cam(classifier=PATH)'."
    )


def _named(model: nn.Module, classifier: str, pooled: Float[Tensor, "n c"], logits: Float[Tensor, "n classes"]) -> LinearHead:
    try:
        path, module = find_layer(model, classifier)
    except LayerError as error:
        raise MethodError(f"Method 'cam', classifier: {error}") from error
    head, expected = _as_linear(module, logits.dtype), (logits.shape[-1], pooled.shape[1])
    if head is None:
        raise MethodError(
            f"Method 'cam': expected as classifier a linear layer or a 1x1 convolution, got '{path}', {type(module).__name__}."
        )
    if logits.ndim != 2 or head.weight.shape != expected:
        outputs, channels = head.weight.shape
        raise MethodError(
            f"Method 'cam': expected as classifier a layer from the target layer's {expected[1]} channels to the {expected[0]} scores, "
            f"got '{path}', from {channels} to {outputs}. Try another layer, or another target layer."
        )
    if not _gives(head, pooled, logits):
        warn(
            f"Method 'cam': the weights of '{path}' are used as asked, but the mean of the target layer times these weights is not the "
            "network's scores: something lies between."
        )
    return head


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
