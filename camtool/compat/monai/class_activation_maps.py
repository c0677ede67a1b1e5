"""GradCAM, GradCAMpp and CAM with the arguments of monai.visualize."""

from abc import ABC
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

import camtool.attribution.cam as cams
from camtool.compat.medcam.label_score import BEST, LabelScore
from camtool.compat.monai.postprocessing import default_upsampler, hottest_is_one
from camtool.errors import LayerError
from camtool.instrumentation.layer_paths import find_layers, path_of

Function = Callable[[Tensor], Tensor]


class _Maps(ABC):
    method: ClassVar[str]

    def __init__(
        self,
        nn_module: nn.Module,
        target_layers: str | Sequence[str],
        upsampler: Callable[[Sequence[int]], Function] = default_upsampler,
        postprocessing: Function = hottest_is_one,
        register_backward: bool = True,
    ) -> None:
        self.nn_module = nn_module
        self.target_layers = [target_layers] if isinstance(target_layers, str) else list(target_layers)
        find_layers(nn_module, self.target_layers)
        self.upsampler, self.postprocessing = upsampler, postprocessing

    def feature_map_size(self, input_size: Sequence[int], device: str = "cpu", layer_idx: int = -1) -> tuple[int, ...]:
        """Return the shape (n, 1, *feature) of the maps of a layer for inputs (n, c, *spatial)."""
        return tuple(self.compute_map(torch.rand(*input_size, device=device), layer_idx=layer_idx).shape)

    def compute_map(
        self, x: Float[Tensor, "n c *spatial"], class_idx: Any = None, retain_graph: bool = False, layer_idx: int = -1
    ) -> Float[Tensor, "n one *feature"]:
        """Return the maps at the layer's size, neither resized nor scaled; arguments are those of the call."""
        if not -len(self.target_layers) <= layer_idx < len(self.target_layers):
            raise LayerError(f"Expected a layer_idx of {len(self.target_layers)} target layers, got {layer_idx}.")
        several = isinstance(class_idx, Sequence) or (isinstance(class_idx, Tensor) and class_idx.ndim > 0)
        labels = [BEST] * len(x) if class_idx is None else [int(one) for one in class_idx] if several else [int(class_idx)] * len(x)
        layer = self.target_layers[layer_idx]
        result = cams.CAM(self.nn_module, layer, self._method())(x, [LabelScore(label) for label in labels])
        return self._evidence(next(iter(result.raw.values()))).unsqueeze(1)

    def __call__(self, x: Float[Tensor, "n c *spatial"], class_idx: Any = None, layer_idx: int = -1, retain_graph: bool = False) -> Tensor:
        """Return the maps (n, 1, *spatial), upsampled and postprocessed.

        Args:
            class_idx: a class, or one of each sample; None: the best of each sample. Of a dense output the sum over its positions.
            layer_idx: which of several target layers.
            retain_graph: changes nothing: no graph of the caller's is touched.

        Raises:
            CamtoolError: if there is no such class or layer, or a map cannot be made.
        """
        return self.postprocessing(self.upsampler(tuple(x.shape[2:]))(self.compute_map(x, class_idx, retain_graph, layer_idx)))

    def _method(self) -> str | dict[str, Any]:
        return self.method

    def _evidence(self, raw: Tensor) -> Tensor:
        return raw.clamp(min=0)


class GradCAM(_Maps):
    """Grad-CAM, called as MONAI's, without its hooks: the mode, gradients and layers of the model stay as they are.

    Differs from MONAI 1.6: **postprocessing** makes the largest value 1, where MONAI's default makes it 0 and the smallest 1 (pass
    `postprocessing=default_normalizer` for that); without `class_idx` each sample's own best class is explained, where MONAI adds up the
    scores of all samples' best classes.

    Args:
        nn_module: gives scores (n, classes), or (n, classes, *spatial).
        target_layers: torch's name of a layer, or of several, of which a call chooses one.
        upsampler: a function from the input's size to a function of maps (n, 1, *feature).
        postprocessing: a function of the upsampled maps (n, 1, *spatial).
        register_backward: changes nothing.

    Raises:
        CamtoolError: if there is no such layer.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from camtool.compat.monai import GradCAM
        >>> model = nn.Sequential(nn.Conv3d(1, 2, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten())
        >>> GradCAM(nn_module=model, target_layers="1")(x=torch.rand(1, 1, 4, 6, 6), class_idx=1).shape
        torch.Size([1, 1, 4, 6, 6])
    """

    method = "gradcam"


class GradCAMpp(_Maps):
    """Grad-CAM++, called as MONAI's; see `GradCAM`. The formula is the paper's (eqs. 10 and 19), whose denominator has the sum of
    activations times g^3, where MONAI sums activations times g^3 over positions.
    """

    method = "gradcam++"


class CAM(_Maps):
    """The class activation map of the final linear layer, called as MONAI's; see `GradCAM`. Differs in leaving out that layer's bias.

    Args:
        fc_layers: torch's name of the linear layer, or a function that takes it from the model.
    """

    def __init__(
        self,
        nn_module: nn.Module,
        target_layers: str | Sequence[str],
        fc_layers: str | Callable[[nn.Module], nn.Module] = "fc",
        upsampler: Callable[[Sequence[int]], Function] = default_upsampler,
        postprocessing: Function = hottest_is_one,
    ) -> None:
        super().__init__(nn_module, target_layers, upsampler, postprocessing)
        self.fc_layers = (
            path_of(nn_module, fc_layers(nn_module)) if callable(fc_layers) else next(iter(find_layers(nn_module, [fc_layers])))
        )

    def _method(self) -> dict[str, Any]:
        return {"type": "cam", "classifier": self.fc_layers}

    def _evidence(self, raw: Tensor) -> Tensor:
        return raw
