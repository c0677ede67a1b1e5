"""Deep feature factorization: which concepts a layer sees in a batch of pictures, where each is, and which classes it speaks for."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from camtool.concepts.nmf import ITERATIONS, factorize
from camtool.errors import LayerError, MethodError
from camtool.functional import min_max, resize, to_float32
from camtool.instrumentation.activations import Capture
from camtool.instrumentation.inputs import Inputs, find_inputs
from camtool.instrumentation.layer_paths import find_layer, path_of
from camtool.instrumentation.linear_head import find_linear_head
from camtool.instrumentation.module_state import eager, evaluating
from camtool.instrumentation.target_layers import probe
from camtool.layouts import Layout, build_layout, fit_layout
from camtool.targets import Output, find_logits
from camtool.types import Maps


@dataclass(frozen=True)
class Concepts:
    """What deep feature factorization finds in a batch; k components, the one that explains most first."""

    maps: Float[Tensor, "n k *spatial"]
    """float32, of the input's size, in [0, 1] per sample and component."""
    raw: Float[Tensor, "n k *feature"]
    """At the layer's own grid, 0 or more; the largest value of each component over the batch is 1, so that samples compare."""
    vectors: Float[Tensor, "k c"]
    """Each concept as a feature of the layer: what the network sees where the concept is strongest, if nothing else is there."""
    scores: Float[Tensor, "k classes"] | None
    """The logits of a picture that is the concept everywhere; None where the head is not global average pooling and one linear layer."""
    remark: str
    """Why there are no scores; "" where there are."""
    logits: Output
    """The network's scores of the pictures themselves."""
    layer: str
    """Path of the layer that was factorized."""
    reason: str
    """Why that layer: "as given", or the rule that chose."""


def deep_feature_factorization(
    model: nn.Module,
    inputs: Any,
    n_components: int = 5,
    *,
    target_layer: str | nn.Module | None = None,
    layout: str | dict[str, Any] | Layout | None = None,
    input: str | int | tuple[str | int, ...] | None = None,  # noqa: A002 - the field's own word, as in CAM
    seed: int = 0,
    iterations: int = ITERATIONS,
) -> Concepts:
    """Return the concepts of a layer over a batch: non-negative factors of its activations, and the classes of each.

    Collins et al. 2018, arXiv:1806.10206; class scores as in pytorch-grad-cam: each concept's vector goes through the classifier as a
    pooled feature. Differs from it in the scale of the vectors, which there is the random start's: see `camtool.concepts.nmf`.
    Concepts belong to the batch: other pictures beside a picture give it other concepts.

    Args:
        model: any module whose output holds scores.
        inputs: (n, c, *spatial), preprocessed; or a tuple of arguments by position, or a dict by keyword, with such a tensor.
        n_components: how many concepts.
        target_layer: path or module; None: derived by probing the network.
        layout: how the layer's tensor becomes maps; None: found from its shape.
        input: of a network with several inputs, the one that the maps lie over.
        seed: of the factorization's random start.
        iterations: at most so many.

    Raises:
        MethodError: if scikit-learn is not installed, or there are not that many components.
        LayerError, LayoutError: for a layer that does not exist, is not called, or gives no maps.
    """
    model, given_layout = eager(model), build_layout(layout)
    with torch.inference_mode(False), torch.no_grad():
        given = find_inputs(inputs, input).detached()
        size = given.picture.shape[2:]
        path, module, reason = _layer(model, given, target_layer, given_layout)
        fit = partial(_fit, layout=given_layout, batch=len(given.picture), input_size=size)
        with evaluating(model), Capture({path: module}, fit, differentiate=False) as capture:
            logits = find_logits(given.run(model), batch=len(given.picture))
        tensor, found = capture.activations(path)
        activations = to_float32(found.to_maps(tensor, size))
        if not activations.isfinite().all():
            raise LayerError(f"Layer '{path}' gives NaN or infinite values on this input; check the weights and the precision.")
        factors = factorize(activations, n_components, seed=seed, iterations=iterations)
        vectors = factors.vectors + factors.offset
        scores, remark = _scores(model, activations, logits, vectors)
    maps = resize(min_max(factors.maps.flatten(0, 1)), size).unflatten(0, factors.maps.shape[:2])
    return Concepts(maps.float(), factors.maps.float(), vectors.float(), scores, remark, logits, path, reason)


def _layer(model: nn.Module, given: Inputs, target_layer: str | nn.Module | None, layout: Layout | None) -> tuple[str, nn.Module, str]:
    if target_layer is not None:
        path = target_layer if isinstance(target_layer, str) else path_of(model, target_layer)
        return *find_layer(model, path), "as given"
    one = given.first_sample()
    fit = partial(_fit, layout=layout, batch=1, input_size=one.picture.shape[2:])
    path, reason = probe(model, one, fit, None).default_layer()
    return *find_layer(model, path), reason


def _fit(tensor: Tensor, module: nn.Module, layout: Layout | None, batch: int, input_size: Sequence[int]) -> Layout:
    return fit_layout(tensor, batch, input_size, layout, module=module)


def _scores(model: nn.Module, activations: Maps, logits: Output, vectors: Tensor) -> tuple[Tensor | None, str]:
    try:
        if not isinstance(logits, Tensor):
            raise MethodError("A detector has no linear head.")
        head = find_linear_head(model, activations, to_float32(logits))
    except MethodError:
        return None, (
            "a concept has class scores where the network ends in global average pooling and one linear layer, applied to this layer's "
            "output; this network's scores are not that at this layer"
        )
    return (vectors @ head.weight.T + head.bias).float(), ""
