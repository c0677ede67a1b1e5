"""Infidelity, max-sensitivity and faithfulness correlation: maps against what small changes and left-out subsets do."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from camtool.errors import DataError
from camtool.metrics.altered_inputs import ExplainedScores, Explanations, Maps, Model, checked_maps, hyperplane, named_maps
from camtool.metrics.rank_correlation import pearson
from camtool.metrics.settings import callable_of, checked_seed, number, whole
from camtool.metrics.thresholds import as_tensor

RADIUS, SAMPLES = 0.02, 10
"""Captum's, of `max_sensitivity`; and of `infidelity`, for which it has none."""
RUNS = 100

Perturb: TypeAlias = Callable[[Tensor, torch.Generator], Tensor]
"""Returns what is taken away from inputs (rows, c, *spatial), drawn from the generator."""


def infidelity(
    model: Model,
    inputs: Tensor,
    maps: Maps,
    targets: Any = None,
    *,
    perturb: Perturb | None = None,
    samples: int = SAMPLES,
    seed: int = 0,
    batch_size: int = 32,
) -> Float[np.ndarray, " n"]:
    """Return of each sample E[(I . M - (f(x) - f(x - I)))^2] over perturbations I, at least 0; lower is better.

    Yeh et al. 2019, arXiv:1901.09392, def. 2.1. It depends on the maps' scale: meant for attributions in units of the score, not for
    maps in [0, 1]. On a planted linear network it is 0 at the truth for a logit, and monotone; it does not rank inverted below random.

    Args:
        model, inputs, targets, batch_size: as of `deletion`; Captum's f is a logit: give targets such as `ClassScore(3)`.
        maps: (n, *spatial), for all channels alike, or (n, c, *spatial).
        perturb: a function of inputs (rows, c, *spatial) and a generator that returns I; None: uniform within 0.02.
        samples: perturbations of each sample; they do not accumulate.
        seed: of the perturbations.

    Raises:
        DataError, TargetError: as of `deletion`.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from camtool.metrics import infidelity
        >>> from camtool.targets import ClassScore
        >>> def all_away(inputs, generator):
        ...     return inputs
        >>> infidelity(nn.Flatten(), torch.tensor([[[2.0, 1.0]]]), torch.tensor([[1.0, 1.0]]), ClassScore(0), perturb=all_away)
        array([1.])
    """
    found = ExplainedScores(model, inputs, targets, batch_size)
    checked = checked_maps(maps, found.inputs, channels=True, varied=False)
    of_channels = (checked if checked.ndim == found.inputs.ndim else checked.unsqueeze(1)).to(found.inputs.dtype)
    rows = torch.arange(len(checked)).repeat_interleave(whole(samples, "at least 1 of the perturbations"))
    perturb = None if perturb is None else callable_of(perturb, "a function of inputs and a generator that returns what is taken away")
    seed = checked_seed(seed)
    products: dict[int, Tensor] = {}

    def altered(numbers: Tensor) -> Tensor:
        chosen = rows.to(numbers.device)[numbers]
        given = found.inputs[chosen]
        change = torch.stack([_drawn(perturb, one, seed, int(number)) for one, number in zip(given, numbers, strict=True)])
        sums = (change * of_channels[chosen]).flatten(1).double().sum(dim=1)
        products.update(zip(numbers.tolist(), sums, strict=True))
        return given - change

    after = found.of(rows, altered)
    predicted = torch.stack([products[number] for number in range(len(rows))]).cpu()
    errors = (predicted - (found.before[rows] - after)).square()
    return errors.reshape(len(checked), -1).mean(dim=1).numpy()


def max_sensitivity(
    model: Model,
    inputs: Tensor,
    explain: Callable[[Tensor, list[Any]], Explanations],
    targets: Any = None,
    *,
    radius: float | int = RADIUS,
    samples: int = SAMPLES,
    seed: int = 0,
    batch_size: int = 32,
) -> Any:
    """Return of each sample the largest relative change of its map for small changes of the input, at least 0; lower is better.

    max over d of norm(M(x + d) - M(x)) / norm(M(x)), d uniform within the radius; Yeh et al. 2019, arXiv:1901.09392, def. 2.2; radius
    and number of draws as Captum's. Steadiness only: a map that ignores the network is the best; not monotone in a map's truth.

    Args:
        model, inputs, targets: as of `deletion`; they say which targets are explained, those of the unaltered inputs throughout.
        explain: a function of inputs (rows, c, *spatial) and a list of targets, one a row (class indices where that is what they are);
            it returns maps with the rows in front, or a dict of maps by method, which share the draws, and the passes that it shares.
        radius: of the changes, in the network's normalised space.
        samples: changes of each sample.
        seed: of the changes.
        batch_size: changed inputs that are explained at once.

    Returns:
        (n,), or a dict of these by method.

    Raises:
        DataError: if a map is not finite or all zero, or maps change their shape.
        TargetError: as of `deletion`.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from camtool.metrics import max_sensitivity
        >>> def explain(inputs, targets):
        ...     return {"input": inputs.sum(dim=1), "nothing": torch.ones(len(inputs), 2)}
        >>> found = max_sensitivity(nn.Flatten(), torch.tensor([[[2.0, 1.0]]]), explain, 0)
        >>> bool(0 < found["input"][0] < 0.02), found["nothing"]
        (True, array([0.]))
    """
    found = ExplainedScores(model, inputs, targets, batch_size)
    radius, batch_size = number(radius, "a radius above 0", lambda value: 0 < value < float("inf")), found.batch_size
    callable_of(explain, "a function of inputs and targets that returns maps")
    rows = [sample for sample in range(len(found.inputs)) for _ in range(whole(samples, "at least 1 of the changes"))]
    seed = checked_seed(seed)
    given = found.given_targets
    several, first = _explained(explain, found.inputs, given, batch_size)
    norms = {name: maps.norm(dim=1) for name, maps in first.items()}
    for name, of_each in norms.items():
        if not (of_each > 0).all():
            sample = int((~(of_each > 0)).nonzero()[0, 0])
            raise DataError(f"Expected a map with values, got zero everywhere in that of sample {sample}{f' by {name}' * several}.")
    largest = {name: torch.zeros_like(of_each) for name, of_each in norms.items()}
    for start in range(0, len(rows), batch_size):
        part = rows[start : start + batch_size]
        drawn = torch.stack([_drawn(None, found.inputs[row], seed, start + k, radius) for k, row in enumerate(part)])
        _, maps = _explained(explain, found.inputs[part] + drawn, [given[row] for row in part], batch_size)
        for name, of_part in maps.items():
            if of_part.shape[1:] != first[name].shape[1:]:
                raise DataError(f"Expected maps of one size, got {first[name].shape[1]} and {of_part.shape[1]} positions.")
            changes = (of_part - first[name][part]).norm(dim=1) / norms[name][part]
            largest[name].scatter_reduce_(0, torch.tensor(part), changes, "amax")
    scores = {name: of_each.numpy() for name, of_each in largest.items()}
    return scores if several else scores[""]


def faithfulness_correlation(
    model: Model,
    inputs: Tensor,
    maps: Maps,
    targets: Any = None,
    *,
    subset: int | None = None,
    runs: int = RUNS,
    seed: int = 0,
    batch_size: int = 32,
) -> Float[np.ndarray, " n"]:
    """Return of each sample Pearson's r of the map's sum over random subsets with the fall of the score without them; higher is better.

    Bhatt et al. 2020, arXiv:2005.00631. In [-1, 1]; 1 on a linear network with the map w * x. A subset is set to 0 in normalised space
    in all channels. Monotone on planted networks; a random map has about 0 in the mean. 0 where the score never changes.

    Args:
        model, inputs, maps, targets, batch_size: as of `deletion`.
        subset: positions in a subset; None: the default step of `deletion`, 224 of a picture of 224 pixels, half of all at most.
        runs: subsets, the same for every sample.
        seed: of the subsets.

    Raises:
        DataError: as of `deletion`, or if a subset has no position, or all.
        TargetError: as of `deletion`.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from camtool.metrics import faithfulness_correlation
        >>> from camtool.targets import ClassContrast
        >>> inputs = torch.tensor([[[2.0, 1.0, 4.0]]])  # the score: the first less the second
        >>> faithfulness_correlation(nn.Flatten(), inputs, torch.tensor([[2.0, -1.0, 0.0]]), ClassContrast(0, 1)).round(6)
        array([1.])
    """
    found = ExplainedScores(model, inputs, targets, batch_size)
    flat = checked_maps(maps, found.inputs).flatten(1).cpu().double()
    count, positions = flat.shape
    size = found.inputs.shape[2:]
    subset = max(min(hyperplane(tuple(size)), positions // 2), 1) if subset is None else subset
    subset = whole(subset, f"a subset of 1 to {positions - 1} positions", most=positions - 1)
    runs = whole(runs, "at least 2 runs to correlate", 2)
    generator = torch.Generator().manual_seed(checked_seed(seed))
    without = torch.zeros(runs, positions, dtype=torch.bool)
    for run in range(runs):
        without[run, torch.randperm(positions, generator=generator)[:subset]] = True
    on_device = without.to(found.inputs.device)

    def altered(rows: Tensor) -> Tensor:
        return found.inputs[rows // runs].masked_fill(on_device[rows % runs].unflatten(1, size).unsqueeze(1), 0)

    rows = torch.arange(count).repeat_interleave(runs)
    falls = (found.before[rows] - found.of(rows, altered)).reshape(count, runs)
    return pearson((flat @ without.double().T).numpy(), falls.numpy(), undefined=0.0)


def _drawn(perturb: Perturb | None, one: Tensor, seed: int, number: int, radius: float = RADIUS) -> Tensor:
    """Return the perturbation of one input; by its number, so that batches change nothing."""
    generator = torch.Generator().manual_seed((1_000_003 * seed + number) % 2**63)
    if perturb is None:
        return radius * (2 * torch.rand(one.shape, generator=generator, dtype=torch.float64) - 1).to(one)
    change = perturb(one.unsqueeze(0), generator)
    if change.shape[1:] != one.shape or len(change) != 1:
        raise DataError(f"Expected a perturbation of the input's shape, {(1, *one.shape)}, got {tuple(change.shape)}.")
    return change[0]


def _explained(
    explain: Callable[[Tensor, list[Any]], Explanations], inputs: Tensor, targets: list[Any], batch_size: int
) -> tuple[bool, dict[str, Tensor]]:
    """Return (whether there are several methods, their maps (n, positions) in float64 on the CPU)."""
    several, parts = False, []
    for start in range(0, len(inputs), batch_size):
        maps = explain(inputs[start : start + batch_size], targets[start : start + batch_size])
        several = isinstance(maps, Mapping)
        by_name = named_maps(maps, "")
        parts.append({name: as_tensor(of_method).cpu().double().flatten(1) for name, of_method in by_name.items()})
    joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    for name, maps in joined.items():
        if len(maps) != len(inputs) or not maps.isfinite().all():
            got = f"{len(maps)} maps" if len(maps) != len(inputs) else "NaN or infinity"
            raise DataError(f"Expected finite maps, one for each of {len(inputs)} inputs, got {got}{f' by {name}' * several}.")
    return several, joined
