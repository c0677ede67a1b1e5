"""GradCAM with medcam3d's arguments and results: arrays, not scaled."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from camtool.attribution.augmentation import FACTORS
from camtool.attribution.cam import CAM
from camtool.compat.positive_maps import positive_at_size
from camtool.errors import MethodError


class GradCAM:
    """Grad-CAM of volumes as medcam3d gives it: relu of the weighted sum, resized to the input, the mean over layers, not scaled.

    Differs from medcam3d 0.0.4 in what is wrong there: targets shorter than the batch are refused instead of leaving samples without a
    map; without targets the predicted class is explained instead of raising; copies of `aug_smooth` are mirrored along the last axis,
    with the first copy's class; the model's mode and its gradients stay, and no hook stays in it; an IndexError inside `with` is raised.

    Args:
        model: its output holds scores (n, classes), or whatever the targets take.
        target_layers: modules or paths.
        use_cuda: move the model and the inputs to the GPU.
        reshape_transform: from a layer's tensor to maps (n, c, *spatial).

    Raises:
        CamtoolError: if a layer is none of the model's, or there is no GPU to use.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from camtool.compat.medcam3d import GradCAM
        >>> from camtool.compat.medcam3d.utils.model_targets import ClassifierOutputTarget
        >>> model = nn.Sequential(nn.Conv3d(1, 2, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten())
        >>> cam = GradCAM(model=model, target_layers=[model[1]])
        >>> cam(input_tensor=torch.rand(1, 1, 4, 6, 6), targets=[ClassifierOutputTarget(1)]).shape
        (1, 4, 6, 6)
    """

    def __init__(
        self,
        model: nn.Module,
        target_layers: str | nn.Module | Sequence[str | nn.Module],
        use_cuda: bool = False,
        reshape_transform: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        if use_cuda and not torch.cuda.is_available():
            raise MethodError("Expected a GPU for use_cuda=True, and torch finds none; try use_cuda=False.")
        self.model = model.cuda() if use_cuda else model
        self.target_layers = target_layers
        self._use_cuda = use_cuda
        self._layout = reshape_transform
        self._cams = {smooth: CAM(self.model, target_layers, layout=reshape_transform, eigen_smooth=smooth) for smooth in (False, True)}

    def __enter__(self) -> "GradCAM":
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: hooks exist only during a call."""

    def __call__(
        self,
        input_tensor: Float[Tensor, "n c *spatial"],
        targets: Iterable[Any] | None = None,
        aug_smooth: bool = False,
        eigen_smooth: bool = False,
    ) -> np.ndarray:
        """Return the maps (n, *spatial) in float32, 0 or more.

        Args:
            targets: a callable of each sample's output, or a class, for each sample; None: the predicted classes.
            aug_smooth: mean over six flipped and brightened copies.
            eigen_smooth: first principal component of the weighted channels instead of their sum.

        Raises:
            CamtoolError: if there is not one target for each sample, or a map cannot be made.
        """
        inputs = input_tensor.cuda() if self._use_cuda else input_tensor
        rows = None if targets is None else [targets] * len(inputs) if callable(targets) else list(targets)
        cam, size = self._cams[eigen_smooth], tuple(inputs.shape[2:])
        if not aug_smooth:
            return _as_array(positive_at_size(cam(inputs, rows), size))
        maps: list[Tensor] = []
        for flipped in (False, True):
            for factor in FACTORS:
                result = cam((inputs.flip(-1) if flipped else inputs) * factor, rows)
                found = positive_at_size(result, size)
                maps.append(found.flip(-1) if flipped else found)
                rows = result.targets if rows is None else rows
            rows = [_mirrored(row, size[-1]) for row in rows or []]
        return _as_array(torch.stack(maps).mean(dim=0))


def _mirrored(target: Any, width: int) -> Any:
    change = getattr(target, "flipped", None)
    return target if change is None else change(width)


def _as_array(maps: Tensor) -> np.ndarray:
    return np.asarray(maps.float().cpu().numpy())
