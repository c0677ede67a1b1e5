"""Maps for others' evaluations: `attribute` as Captum's classes have it, and a function that Quantus's metrics call."""

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from camtool.attribution.cam import CAM
from camtool.errors import MethodError, closest

_OF_QUANTUS = ("device", "nr_channels", "img_size", "reduce_axes", "normalise", "normalise_func", "normalise_func_kwargs", "softmax")
"""Settings that Quantus hands to every such function, and that say nothing of a map here."""


class Attribution:
    """Maps of a method, called as Captum's attribution classes are, so that Captum's metrics run on them.

    Differs from Captum: the model stays as it is, without a target each sample's predicted class is explained, and maps are scaled to
    [0, 1] unless `signed`.

    Args:
        model: gives scores (n, classes), or whatever `camtool.CAM` takes.
        method: a name, or a config dict.
        target_layers: as of `camtool.CAM`; None: derived.
        signed: raw maps with their signs over their largest absolute value, instead of the positive part in [0, 1].
        like_inputs: divide each map evenly among the input's channels, for metrics that multiply inputs and attributions.
        settings: further arguments of `camtool.CAM`.

    Raises:
        CamtoolError: for a layer, method or setting that does not exist or does not fit.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from camtool.compat import Attribution
        >>> model = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> picture = torch.tensor([[[[0.0, 1.0], [2.0, 4.0]], [[8.0, 0.0], [0.0, 0.0]]]])
        >>> Attribution(model, target_layers="[0]").attribute(picture, target=0)
        tensor([[[[0.0000, 0.2500],
                  [0.5000, 1.0000]]]])
    """

    def __init__(
        self,
        model: nn.Module,
        method: str | dict[str, Any] = "gradcam",
        target_layers: str | nn.Module | Sequence[str | nn.Module] | None = None,
        *,
        signed: bool = False,
        like_inputs: bool = False,
        **settings: Any,
    ) -> None:
        known = tuple(inspect.signature(CAM).parameters)
        for name in settings:
            if name not in known:
                raise MethodError(f"No setting '{name}' of maps{closest(name, known)}; expected {', '.join(known[3:])}.")
        self.signed, self.like_inputs = signed, like_inputs
        self._cam = CAM(model, target_layers, method, **settings)

    def attribute(self, inputs: Tensor | tuple[Tensor, ...], target: Any = None, additional_forward_args: Any = None) -> Any:
        """Return the maps (n, 1, *spatial), or (n, c, *spatial) with `like_inputs`; of a tuple of one tensor a tuple.

        Args:
            inputs: (n, c, *spatial), preprocessed, that the maps lie over.
            target: a class of all samples, or one of each: a number, a list or a tensor; None: the predicted ones. Or what
                `camtool.CAM` takes as targets.
            additional_forward_args: one further argument of the network, or a tuple of several.

        Raises:
            CamtoolError: if there is no such class, or a map cannot be made.
        """
        if isinstance(inputs, tuple) and len(inputs) != 1:
            raise MethodError(f"Expected one tensor that maps lie over, got {len(inputs)}; try additional_forward_args for the others.")
        over = inputs[0] if isinstance(inputs, tuple) else inputs
        others = additional_forward_args if isinstance(additional_forward_args, tuple) else (additional_forward_args,)
        call: Any = over if additional_forward_args is None else (over, *others)
        result = self._cam(call, _targets(target))
        maps = (result.signed() if self.signed else result.maps).unsqueeze(1)
        if self.like_inputs:
            maps = (maps / over.shape[1]).expand(over.shape).clone()
        return (maps,) if isinstance(inputs, tuple) else maps


def quantus_explain_func(
    model: nn.Module,
    inputs: np.ndarray | Tensor,
    targets: Any,
    *,
    method: str | dict[str, Any] = "gradcam",
    target_layers: str | nn.Module | Sequence[str | nn.Module] | None = None,
    **kwargs: Any,
) -> np.ndarray:
    """Return the maps (n, 1, *spatial) of a batch in float32, as Quantus's metrics ask for them by `explain_func`.

    `metric(model, x_batch, y_batch, a_batch=None, explain_func=quantus_explain_func, explain_func_kwargs=dict(method="layercam"))`.

    Args:
        model: gives scores (n, classes), or whatever `camtool.CAM` takes.
        inputs: (n, c, *spatial), preprocessed.
        targets: the class of each sample.
        method: a name, or a config dict.
        target_layers: as of `camtool.CAM`; None: derived.
        kwargs: of `Attribution`, and so of `camtool.CAM`. What Quantus hands to every such function (`device`, `nr_channels` …) is of no
            effect: a map is computed where the model is.

    Raises:
        CamtoolError: for a class, layer, method or setting that does not exist or does not fit, or a map that cannot be made.

    Example:
        >>> import numpy as np
        >>> from torch import nn
        >>> from camtool.compat import quantus_explain_func
        >>> model = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> picture = np.array([[[[0.0, 1.0], [2.0, 4.0]], [[8.0, 0.0], [0.0, 0.0]]]])
        >>> quantus_explain_func(model, picture, np.array([0]), target_layers="[0]")[0, 0]
        array([[0.  , 0.25],
               [0.5 , 1.  ]], dtype=float32)
    """
    settings = {name: value for name, value in kwargs.items() if name not in _OF_QUANTUS}
    first = next((value for value in (*model.parameters(), *model.buffers()) if value.is_floating_point()), torch.empty(0))
    batch = torch.as_tensor(inputs).to(first.device, first.dtype)
    maps = Attribution(model, method, target_layers, **settings).attribute(batch, targets)
    return np.asarray(maps.detach().float().cpu().numpy())


def _targets(target: Any) -> Any:
    """Return a class or one of each sample as numbers; others as they are."""
    if isinstance(target, (Tensor, np.ndarray)):
        return int(target.item()) if target.shape in ((), (1,)) else target.tolist()
    return target
