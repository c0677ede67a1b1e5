"""Do maps change when what the network has learnt is taken away? MPRT, layer by layer from the top, and eMPRT."""

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from camtool.errors import DataError, closest, some
from camtool.instrumentation.module_state import evaluating
from camtool.instrumentation.randomness import SameRandomNumbers
from camtool.metrics.altered_inputs import ExplainedScores, Explanations, checked_maps, named_maps
from camtool.metrics.rank_correlation import spearman
from camtool.metrics.settings import callable_of, checked_seed, truth, whole

ExplainNetwork: TypeAlias = Callable[[nn.Module, Tensor, list[Any]], Explanations]
"""Returns maps (n, *spatial) by a network, of inputs (n, c, *spatial), for targets, one a sample; or a dict of maps by method."""
BINS = 100
_ONLY = ""


def randomisation(
    model: nn.Module,
    inputs: Tensor,
    explain: ExplainNetwork,
    targets: Any = None,
    *,
    layers: Sequence[str] | None = None,
    cascading: bool = True,
    seed: int = 0,
) -> dict[str, Any]:
    """Return by layer, from the top, the rank correlation of each map with that after the layer is initialised anew; lower is better.

    Model parameter randomisation test (MPRT); Adebayo et al. 2018, arXiv:1810.03292. Spearman's r in [-1, 1]: 1 for a map that does
    not depend on what was learnt, NaN where a map is the same everywhere. It tells whether a map depends on the weights, not whether
    it is right: not monotone from the truth to noise.

    Layers are initialised in a copy, by their own `reset_parameters`, each from a seed of its own. The network and torch's random
    numbers stay as they are.

    Args:
        explain: a function of a network, inputs and targets that returns maps of the inputs' size; the network is in eval mode.
        targets: as of `deletion`: those of the network as it is are explained throughout.
        layers: paths of modules with `reset_parameters`, or one; None: all, in the order in which they were registered, the last first.
        cascading: keep the layers above initialised, too; False: one layer at a time.
        seed: the k-th layer's is drawn from it and k.

    Returns:
        By layer (n,), or where `explain` returns a dict, a dict of these by method: all methods explain the same copies.

    Raises:
        DataError: if there is no such layer, or a map has another size or is not finite.
        TargetError: if a target does not fit the output.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from camtool.metrics import randomisation
        >>> network = nn.Sequential(nn.Conv1d(1, 2, 1), nn.Flatten(), nn.Linear(10, 2))
        >>> def input_itself(network, inputs, targets):
        ...     return inputs.sum(dim=1)
        >>> randomisation(network, torch.randn(1, 1, 5), input_itself)  # does not look at the network
        {'2': array([1.]), '0': array([1.])}
    """
    cascading, seed = truth(cascading, "cascading"), checked_seed(seed)
    found = ExplainedScores(_network(model), inputs, targets)
    before = _maps(explain, model, found)
    scores = {}
    for name, changed in _randomised(model, layers, cascading, seed):
        after = _maps(explain, changed, found)
        by_method = {method: spearman(maps, after[method]) for method, maps in before.items()}
        scores[name] = by_method.get(_ONLY, by_method)
    return scores


def emprt(model: nn.Module, inputs: Tensor, explain: ExplainNetwork, targets: Any = None, *, bins: int = BINS, seed: int = 0) -> Any:
    """Return of each sample the relative rise of its map's entropy when all layers are initialised anew; higher is better.

    Efficient MPRT (eMPRT); Hedström et al. 2024, arXiv:2401.06465: (H(M') - H(M)) / H(M), H the entropy in nats of the histogram of
    a map's values in bins of equal width between its lowest and its highest. Above 0 where the learnt map is the simpler one; as
    `randomisation` it does not tell whether that is right, and is not monotone from the truth to noise. A map that is the same
    everywhere has no entropy.

    Args:
        model, inputs, explain, targets, seed: as of `randomisation`.
        bins: of the histogram.

    Returns:
        (n,), or a dict of these by method, as of `randomisation`.

    Raises:
        DataError: as of `randomisation`, or if a map of the network as it is has no entropy.
        TargetError: as of `randomisation`.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from camtool.metrics import emprt
        >>> def input_itself(network, inputs, targets):
        ...     return inputs.sum(dim=1)
        >>> emprt(nn.Sequential(nn.Flatten(), nn.Linear(5, 2)), torch.randn(1, 1, 5), input_itself)
        array([0.])
    """
    bins, seed = whole(bins, "at least 2 bins", 2), checked_seed(seed)
    found = ExplainedScores(_network(model), inputs, targets)
    before = {method: _entropies(maps, bins) for method, maps in _maps(explain, model, found).items()}
    for method, of_each in before.items():
        if (of_each == 0).any():
            by = "" if method == _ONLY else f" by {method}"
            raise DataError(
                f"Expected a map that differs between positions, got the same everywhere in that of sample {of_each.argmin()}{by}."
            )
    *_, (_, changed) = _randomised(model, None, True, seed)
    after = _maps(explain, changed, found)
    rises = {method: np.asarray((_entropies(after[method], bins) - of_each) / of_each) for method, of_each in before.items()}
    return rises.get(_ONLY, rises)


def _network(model: Any) -> nn.Module:
    if not isinstance(model, nn.Module):
        raise DataError(f"Expected a network whose layers can be initialised anew, got {model!r}.")
    return model


def _maps(explain: ExplainNetwork, model: nn.Module, found: ExplainedScores) -> dict[str, Float[np.ndarray, "n positions"]]:
    """Return maps by method, of a single one by no name."""
    callable_of(explain, "a function of a network, inputs and targets that returns maps")
    with evaluating(model):
        maps = explain(model, found.inputs, found.given_targets)
    by_method = named_maps(maps, _ONLY)
    return {method: checked_maps(own, found.inputs, varied=False).flatten(1).cpu().double().numpy() for method, own in by_method.items()}


def _randomised(model: nn.Module, layers: Sequence[str] | None, cascading: bool, seed: int) -> Iterator[tuple[str, nn.Module]]:
    """Yield each layer's path and a copy of the network in which it (and with `cascading` all before it) is initialised anew."""
    layers = [layers] if isinstance(layers, str) else layers
    if layers is not None and not (isinstance(layers, Sequence) and all(isinstance(layer, str) for layer in layers)):
        raise DataError(f"Expected layers to initialise anew by their paths, got {layers!r}.")
    paths = [path for path, module in model.named_modules() if callable(getattr(module, "reset_parameters", None))]
    unknown = [layer for layer in layers or () if layer not in paths]
    what = "none" if layers is not None and not layers else "" if paths else "a network without a layer that can be"
    what = f"no layer '{unknown[0]}'{closest(unknown[0], paths)} that can be" if unknown else what
    if what:
        raise DataError(f"Expected layers to initialise anew, got {what}; there are {some(paths) or 'none'}.")
    changed = copy.deepcopy(model)
    for number, path in enumerate(reversed(paths) if layers is None else layers):
        if not cascading:
            changed = copy.deepcopy(model)
        layer: Any = changed.get_submodule(path)
        device = next((tensor.device for tensor in layer.parameters()), torch.device("cpu"))
        own_seed = int(torch.randint(2**62, (), generator=torch.Generator().manual_seed((1_000_003 * seed + number) % 2**63)))
        with torch.no_grad():
            SameRandomNumbers(device, own_seed)(layer.reset_parameters)
        yield path, changed


def _entropies(maps: Float[np.ndarray, "n positions"], bins: int) -> Float[np.ndarray, " n"]:
    found = []
    for values in maps:
        if np.ptp(values) == 0:
            found.append(0.0)
            continue
        shares = np.histogram(values / np.abs(values).max(), bins)[0] / len(values)  # small numbers have no bins of their own
        found.append(float(-(shares[shares > 0] * np.log(shares[shares > 0])).sum()))
    return np.array(found)
