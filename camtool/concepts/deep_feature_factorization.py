"""Deep feature factorization: concepts of a layer over a batch of pictures, their maps and class scores."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from camtool.concepts.nmf import ITERATIONS, factorize
from camtool.errors import LayerError, MethodError, TargetError
from camtool.functional import min_max, to_float32
from camtool.instrumentation.activations import Capture
from camtool.instrumentation.calls import only_call
from camtool.instrumentation.entrances import entrances
from camtool.instrumentation.inputs import Inputs
from camtool.instrumentation.layer_calls import Call, LayerCalls, read_call
from camtool.instrumentation.layer_layouts import LayerLayouts
from camtool.instrumentation.layer_paths import find_layer, find_layers
from camtool.instrumentation.linear_head import find_linear_head
from camtool.instrumentation.module_state import check_weights, eager, evaluating
from camtool.instrumentation.nested import tensors_in
from camtool.instrumentation.network_inputs import network_inputs
from camtool.instrumentation.placements import find_placements
from camtool.instrumentation.target_layers import probed
from camtool.layouts import Layout, LayoutSpec, build_layout
from camtool.placement import Placement, PlacementSetting, build_placement, placed
from camtool.targets import Output, OutputName, scores_in
from camtool.types import Maps

_Activations: TypeAlias = tuple[Maps, tuple[int, ...], Output]


@dataclass(frozen=True)
class Concepts:
    """Result of deep feature factorization of a batch: k components, the one that explains most first."""

    maps: Float[Tensor, "n k *spatial"]
    """float32, of the input's size, in [0, 1] per sample and component."""
    raw: Float[Tensor, "n k *feature"]
    """At the layer's own grid, 0 or more; each component's largest value over the batch is 1, so samples are comparable."""
    vectors: Float[Tensor, "k c"]
    """Each concept as a feature vector of the layer: the activations where the concept is strongest, without the other concepts."""
    scores: Float[Tensor, "k classes"] | None
    """The logits of the concept at every position; None if the head is not global average pooling and one linear layer."""
    remark: str
    """Why there are no scores; "" if there are."""
    logits: Output
    """The network's scores of the pictures themselves."""
    layer: str
    """Path of the factorized layer."""
    reason: str
    """Why this layer: "as given", or the rule that chose it."""
    placement: Placement
    """Where the cells of `raw` lie on the input, and where that comes from."""


def deep_feature_factorization(  # noqa: PLR0913 - a keyword each
    model: nn.Module,
    inputs: Any,
    n_components: int = 5,
    *,
    target_layer: str | nn.Module | None = None,
    layout: LayoutSpec = None,
    placement: str | Placement | PlacementSetting | Mapping[str, Any] = "even",
    input: str | int | tuple[str | int, ...] | None = None,  # noqa: A002 - the field's own word, as in CAM
    input_axes: str | None = None,
    call: int | Mapping[str, int] | None = None,
    output: OutputName = None,
    seed: int = 0,
    iterations: int = ITERATIONS,
) -> Concepts:
    """Return the concepts of a layer over a batch: non-negative factors of its activations, with class scores.

    Collins et al. 2018, arXiv:1806.10206; class scores as in pytorch-grad-cam: each concept's vector is the classifier's
    input as a pooled feature. Differs from it in the scale of the vectors, which there is that of the random start: see
    `camtool.concepts.nmf`. Concepts depend on the batch: the same picture has other concepts beside other pictures.

    Args:
        model: any module whose output holds scores.
        inputs: (n, c, *spatial), preprocessed; or a tuple of arguments by position, or a dict by keyword, with such a tensor.
        n_components: number of concepts, 1 to the smaller of channels and positions.
        target_layer: path or module; None: derived by probing the network.
        layout: how the layer's tensor becomes maps, as in CAM; None: found.
        placement: where the layer's cells lie on the input, as of `CAM`.
        input: of a network with several inputs, the one that the maps lie over.
        input_axes: letters of this input's axes, such as "ntchw"; None: as in CAM.
        call: of a layer that is called several times, the call that is factorized, as in CAM; None: the last on the way from the input of
            the maps to any score.
        output: of a network with several, the one whose classes the concepts are scored for, as in CAM.
        seed: of the factorization's random start.
        iterations: maximum number of iterations.

    Raises:
        MethodError: if `n_components` is out of range.
        LayerError, LayoutError: for a layer that does not exist, is not called, or whose output is not a map.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from camtool import deep_feature_factorization
        >>> _ = torch.manual_seed(0)
        >>> pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), *pool, nn.Linear(8, 4))
        >>> concepts = deep_feature_factorization(model, torch.rand(2, 3, 16, 16), n_components=3)
        >>> concepts.layer, concepts.maps.shape, concepts.scores.shape
        ('[1]', torch.Size([2, 3, 16, 16]), torch.Size([3, 4]))
    """
    model, user_layout, setting = eager(model), build_layout(layout), build_placement(placement)
    check_weights(model)
    with only_call(model), torch.inference_mode(False), torch.no_grad(), ExitStack() as stack:
        arguments = network_inputs(model, inputs, input, input_axes, output=output).detached()
        size = arguments.picture.shape[2:]
        chosen = read_call(model, call)
        path, reason = _layer(model, arguments, target_layer, user_layout, chosen)
        stack.enter_context(entrances(model, [path]))
        module = find_layer(model, path)[1]
        calls = LayerCalls(model, arguments, _all_scores, chosen, layers=[path])
        layouts = LayerLayouts(model, arguments, user_layout, calls=calls)
        activations, channel_axes, logits = layouts.settled(partial(_activations, model, arguments, path, module, layouts))
        place = find_placements(setting, model, arguments, {path: module}, {}, layouts, calls).get(path)
        if not activations.isfinite().all():
            raise LayerError(f"Layer '{path}' gives NaN or infinite values on this input; check the weights and the precision.")
        factors = factorize(activations, n_components, seed=seed, iterations=iterations)
        vectors = factors.vectors + factors.offset
        scores, remark = _scores(model, activations, channel_axes, logits, vectors)
    maps = placed(min_max(factors.maps.flatten(0, 1)), size, place).unflatten(0, factors.maps.shape[:2])
    place = place or Placement.even(factors.maps.shape[2:], size)
    return Concepts(maps.float(), factors.maps.float(), vectors.float(), scores, remark, logits, path, reason, place)


def _layer(model: nn.Module, arguments: Inputs, target_layer: str | nn.Module | None, layout: Layout | None, call: Call) -> tuple[str, str]:
    if target_layer is not None:
        return next(iter(find_layers(model, [target_layer]))), "as given"
    sample = arguments.first_sample()
    try:
        return probed(model, sample, None, layout, call=call).default_layer()
    except TargetError:  # no predicted class, as of a segmentation
        logits = scores_in(sample.run(model), batch=1)
        target = _OneClass(logits) if isinstance(logits, Tensor) else _all_scores
        return probed(model, sample, target, layout, call=call).default_layer()


def _activations(model: nn.Module, arguments: Inputs, path: str, module: nn.Module, layouts: LayerLayouts) -> _Activations:
    """Return the layer's activations as maps, the axes that their channels are, and the logits of the batch."""
    batch, size = len(arguments.picture), arguments.picture.shape[2:]
    fit = partial(layouts.fit, batch=batch, input_size=size)
    with evaluating(model), Capture({path: module}, fit, differentiate=False, calls=layouts.calls.recorded) as capture:
        output = arguments.run(model)
        layouts.calls.require(capture.counts)
        layouts.require_measured()
        logits = scores_in(output, batch=batch)
    tensor, layout = capture.activations(path)
    return to_float32(layout.to_maps(tensor, size)), layout.channel_axes(tensor.shape), logits


class _OneClass:
    """The first class at every position; of the axes of scores, that of the classes is the shortest."""

    def __init__(self, logits: Tensor) -> None:
        lengths = list(logits.shape[1:])
        self._axis = lengths.index(min(lengths))
        self.classes_last = self._axis == len(lengths) - 1
        """As of `Region`: which layers hold scores depends on it."""

    def __call__(self, output: Tensor) -> Tensor:
        return output.select(self._axis, 0).float().square().sum()


def _all_scores(output: Any) -> Tensor:
    """Return what depends on all scores of a sample; their squares, as probabilities add up to one whatever the input is."""
    return torch.stack([tensor.float().square().sum() for tensor in tensors_in(output)]).sum()


def _scores(model: nn.Module, activations: Maps, channel_axes: Sequence[int], logits: Output, vectors: Tensor) -> tuple[Tensor | None, str]:
    try:
        if not isinstance(logits, Tensor) or logits.ndim != 2:
            raise MethodError("Scores of boxes and of positions have no linear head.")
        head = find_linear_head(model, activations, to_float32(logits), channel_axes=channel_axes)
    except MethodError:
        return None, (
            "concepts have class scores if the network ends in global average pooling and one linear layer, applied to this layer's "
            "output; this network's scores are computed otherwise"
        )
    return (vectors @ head.weight.T + head.bias).float(), ""
