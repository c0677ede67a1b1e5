"""M3d-Cam's maps, by backend and layer: min-max scaled at the layer's size, a channel in front."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from camtool.attribution.cam import CAM
from camtool.attribution.result import CAMResult
from camtool.compat.medcam.label_score import Label, LabelScore
from camtool.errors import MethodError, closest
from camtool.functional import min_max, resize

GUIDED = "guidedbackprop"
BACKENDS = {"gcam": ["gradcam"], "gcampp": ["gradcam++"], "gbp": [GUIDED], "ggcam": ["gradcam", GUIDED]}
"""Methods by backend."""


def methods_of(backend: str) -> list[str]:
    """Return the methods of a backend; MethodError if there is none of this name."""
    if backend not in BACKENDS:
        raise MethodError(f"No backend '{backend}'{closest(backend, BACKENDS)}; expected one of {', '.join(BACKENDS)}.")
    return BACKENDS[backend]


def attention_maps(
    model: nn.Module, batch: Float[Tensor, "n c *spatial"], backend: str, layers: str | Sequence[str], label: Label
) -> dict[str, Tensor]:
    """Return maps (n, 1, *feature) in [0, 1] by layer path, of guided backpropagation alone (n, 1, *spatial) by "".

    gcam: relu(sum over channels of mean gradient times activation). gbp: the mean over input channels of the guided gradient. ggcam: the
    product of both at the input's size. Each is scaled to [0, 1] by sample; one that is the same everywhere is 0.

    Raises:
        CamtoolError: if the method, layer or label does not fit the network.
    """
    methods = methods_of(backend)
    results = CAM(model, layers if methods != [GUIDED] else None, methods)(batch, [LabelScore(label)] * len(batch))
    guided = _guided(results[GUIDED]) if GUIDED in results else None
    if methods == [GUIDED]:
        assert guided is not None
        return {"": min_max(guided).unsqueeze(1)}
    by_layer = {path: min_max(raw.clamp(min=0)) for path, raw in results[methods[0]].raw.items()}
    if guided is not None:
        by_layer = {path: min_max(resize(maps, guided.shape[1:]) * guided) for path, maps in by_layer.items()}
    return {path: maps.unsqueeze(1).float() for path, maps in by_layer.items()}


def _guided(result: CAMResult) -> Float[Tensor, "n *spatial"]:
    assert result.attributions is not None
    return result.attributions.mean(dim=1).float()


def at_size(maps: Float[Tensor, "n one *feature"], size: Sequence[int]) -> Float[Tensor, "n one *size"]:
    """Return maps interpolated linearly to a size."""
    return maps if tuple(maps.shape[2:]) == tuple(size) else torch.unsqueeze(resize(maps.squeeze(1), size), 1)
