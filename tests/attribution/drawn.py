"""What came of asking for a map: drawn right, warned of, or refused in words; and how often the network ran for it."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from camtool import CAM, CAMResult
from camtool.errors import CamtoolError, CamtoolWarning
from tests.token_networks import by_hand

CLASS = 1


def score(logits: Tensor) -> Tensor:
    """Return the sum over samples of the score that the tests explain."""
    return logits[:, CLASS].sum()


def explained(network: nn.Module, layer: Any, inputs: Any, *, target: int = CLASS, **options: Any) -> tuple[CAMResult, list[str]]:
    """Return the result and the remarks on its reading: warnings that are not about one sample's evidence, or about several outputs."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CamtoolWarning)
        result = CAM(network, layer, **options)(inputs, targets=target)
    own = [warning.message for warning in caught if isinstance(warning.message, CamtoolWarning)]
    remarks = [str(warning) for warning in own if warning.sample is None]
    return result, [remark for remark in remarks if not remark.startswith("The network returns ")]


def difference(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference as a share of the expected map's own range; infinity where the shapes differ."""
    if found.shape != expected.shape:
        return float("inf")
    variation = expected.amax() - expected.amin()
    assert variation > 1e-4 * expected.abs().amax(), "a map that is the same everywhere would be right in any arrangement"
    return ((found - expected).abs().amax() / variation).item()


def assert_drawn(
    network: nn.Module,
    path: str,
    inputs: Any,
    maps: Callable[[Tensor], Tensor],
    *,
    method: str = "gradcam",
    evidence: str | None = None,
    tolerance: float = 1e-3,
    score: Callable[[Any], Tensor] = score,
    **options: Any,
) -> CAMResult:
    """Assert that the raw map at a layer is that of `maps`, without a remark, and that the result says how it is known.

    Args:
        evidence: what the result must say; None: "measured" or "only reading", whichever the tensor's shape leaves.
    """
    expected = by_hand(network, network.get_submodule(dotted(path)), inputs, score, maps, method)
    result, remarks = explained(network, path, inputs, method=method, **options)
    (found,) = result.raw.values()
    assert tuple(found.shape) == tuple(expected.shape), f"drawn as {tuple(found.shape[1:])}, its cells are {tuple(expected.shape[1:])}"
    assert difference(found, expected) < tolerance, "drawn, but not where the cells look"
    assert not remarks
    assert result.layout_evidence[result.layers[0]] in ([evidence] if evidence else ["measured", "only reading"])
    return result


def assert_right_or_told(
    network: nn.Module,
    path: str,
    inputs: Any,
    maps: Callable[[Tensor], Tensor] | None,
    *,
    method: str = "gradcam",
    unmeasurable: bool = False,
    **options: Any,
) -> str:
    """Assert that a map is drawn right, or refused in words, or comes with a warning; return which.

    Args:
        maps: the true arrangement; None: the layer has no positions, so that no map of it is right.
        unmeasurable: whether a reading may be taken because it is the only one, if the result says so.
    """
    try:
        result, remarks = explained(network, path, inputs, method=method, **options)
    except CamtoolError as error:
        assert_words(error)
        return "refused"
    (found,) = result.raw.values()
    if maps is not None:
        expected = by_hand(network, network.get_submodule(dotted(path)), inputs, score, maps, method)
        if difference(found, expected) < 1e-3:
            return "right"
    if unmeasurable and result.layout_evidence[result.layers[0]] == "only reading":
        return "said"
    assert remarks, f"a wrong map {tuple(found.shape)} with status {result.status} and without a word"
    return "warned"


def assert_words(error: BaseException) -> None:
    """Assert that a refusal says something."""
    assert len(str(error).split()) > 5, f"not words: {error}"


def dotted(path: str) -> str:
    """Return torch's name of a path: "blocks.0.norm1" of "blocks[0].norm1"."""
    return path.replace("[", ".").replace("]", "").lstrip(".")


class Passes:
    """Number of forward passes of a network, and the inputs of each."""

    def __init__(self) -> None:
        self.inputs: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    @property
    def count(self) -> int:
        return len(self.inputs)


@contextmanager
def counted(network: nn.Module) -> Iterator[Passes]:
    """Count the forward passes of a network inside the block."""
    passes = Passes()

    def note(module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        passes.inputs.append((arguments, keywords))

    handle = network.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield passes
    finally:
        handle.remove()


def state_of(network: nn.Module) -> dict[str, Any]:
    """Return everything that a call could leave behind in a network, and torch's random numbers."""
    modules = dict(network.named_modules())
    hooks = [name for name in vars(network) if name.endswith("_hooks")]
    return {
        "attributes": {name: sorted(vars(module)) for name, module in modules.items()},
        "modes": {name: module.training for name, module in modules.items()},
        "hooks": {name: [len(vars(module)[hook]) for hook in hooks if vars(module)[hook] is not None] for name, module in modules.items()},
        "gradients": {name: (parameter.requires_grad, parameter.grad) for name, parameter in network.named_parameters()},
        "values": {name: value.double().sum().item() for name, value in network.state_dict().items()},
        "random": torch.get_rng_state().tolist(),
    }
