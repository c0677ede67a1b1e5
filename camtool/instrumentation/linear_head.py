"""The linear head of a network that ends in global average pooling, as the original CAM needs it."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from camtool.errors import MethodError
from camtool.functional import spatial_mean
from camtool.types import Maps

TOLERANCE = 1e-2  # relative; bfloat16 networks round their logits to three digits


@dataclass(frozen=True)
class LinearHead:
    """A linear layer: logits = pooled activations @ weight.T + bias."""

    weight: Float[Tensor, "classes c"]
    bias: Float[Tensor, " classes"]


def find_linear_head(model: nn.Module, activations: Maps, logits: Float[Tensor, "n classes"]) -> LinearHead:
    """Return the linear layer (or 1x1 convolution) that turns the activations' spatial mean into the logits.

    It is found by its output, not by its name or shape.

    Raises:
        MethodError: if there is none, because the head pools otherwise or has more than one layer.
    """
    pooled = spatial_mean(activations).flatten(1).to(logits.dtype)
    for module in model.modules():
        head = _as_linear(module, logits.dtype)
        if head is None or head.weight.shape != (logits.shape[-1], pooled.shape[1]):
            continue
        predicted = pooled @ head.weight.T + head.bias
        scale = logits.abs().amax().clamp(min=1e-6)
        if logits.shape == predicted.shape and (predicted - logits).abs().amax() <= TOLERANCE * scale:
            return head
    raise MethodError(
        "Method 'cam' is defined for networks that end in global average pooling and one linear layer, applied to the target "
        "layer's output; this network's scores are computed otherwise. Use 'gradcam', its generalisation, or the layer that "
        "is pooled."
    )


def _as_linear(module: nn.Module, dtype: torch.dtype) -> LinearHead | None:
    if not isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        return None
    if not isinstance(module, nn.Linear) and (set(module.kernel_size) != {1} or module.groups != 1):
        return None
    weight = module.weight.detach().flatten(1).to(dtype)
    bias = module.bias
    return LinearHead(weight, torch.zeros_like(weight[:, 0]) if bias is None else bias.detach().to(dtype))
