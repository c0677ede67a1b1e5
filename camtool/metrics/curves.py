"""Deletion and insertion: the score while positions are taken away, or come back, in the order of the map."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from camtool.errors import DataError, closest
from camtool.metrics.altered_inputs import ExplainedScores, Maps, Model, checked_maps, hyperplane, removal_ranks
from camtool.metrics.settings import whole
from camtool.metrics.thresholds import as_tensor

BLUR = "blur"
TAPS, SIGMA = 11, 5.0


@dataclass(frozen=True)
class ScoreCurves:
    """Scores of each sample at growing shares of positions altered.

    Example:
        >>> import numpy as np
        >>> from camtool.metrics import ScoreCurves
        >>> ScoreCurves(np.array([0.0, 0.5, 1.0]), np.array([[1.0, 0.5, 0.0]])).areas()
        array([0.5])
    """

    fractions: Float[np.ndarray, " steps"]
    """Share of the positions that are altered, in [0, 1]."""
    scores: Float[np.ndarray, "n steps"]
    """The explained score, as of `deletion`."""

    def areas(self) -> Float[np.ndarray, " n"]:
        """Return the area under each curve by trapezoids over the fractions, divided by their range; DataError of a single fraction."""
        if len(self.fractions) < 2:
            raise DataError("Expected a curve of at least two fractions, got one; take its score instead of an area.")
        area = (np.diff(self.fractions) * (self.scores[:, 1:] + self.scores[:, :-1]) / 2).sum(axis=1)
        return np.asarray(area / (self.fractions[-1] - self.fractions[0]))


def deletion(
    model: Model,
    inputs: Tensor,
    maps: Maps,
    targets: Any = None,
    *,
    step: int | None = None,
    substrate: float | int | str | Tensor = 0.0,
    seed: int = 0,
    batch_size: int = 32,
) -> Float[np.ndarray, " n"]:
    """Return of each sample the area under its score while the map's highest positions are deleted first; lower is better.

    Petsiuk et al. 2018, arXiv:1806.07421 (RISE). In [0, 1] for probabilities. The score of the unaltered input is the first point and
    that of the substrate alone the last; the area is by trapezoids over the share that is deleted, the last step's true share included.
    Differs from RISE in the order of equal values, which is drawn from the seed, not that of the positions.

    Monotone in a map's quality on planted networks; on trained ones a deleted picture is none that they know, which the score measures,
    too: see `road`.

    Args:
        model: a network, or a function of inputs; its modules are in eval mode meanwhile, and then as they were.
        inputs: (n, c, *spatial), preprocessed.
        maps: (n, *spatial) of the inputs' size, of any sign.
        targets: a class index or None, the predicted class: its probability; or any target of `CAM`: its own value. One for all, or a
            list with one a sample.
        step: positions deleted at once; None: the shorter side's length in pixels of a picture; in general that to the power of the
            number of axes less one, so that there are about as many steps as the shorter side is long.
        substrate: what a deleted position becomes: a number in the network's normalised space, "blur" (a Gaussian of 11 taps an axis,
            sigma 5, zero beyond the border, as RISE), or a tensor that broadcasts to the inputs.
        seed: of the order of equal values.
        batch_size: altered inputs in one pass of the network.

    Raises:
        DataError: if maps are not of the inputs' size, not finite or the same everywhere, or a setting is out of range.
        TargetError: if a target does not fit the output.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from camtool.metrics import deletion
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
        >>> _ = nn.init.zeros_(network[1].weight)
        >>> network[1].weight.data[1] = torch.tensor([9.0, 0.0, 0.0, 0.0])  # class 1 is the first position
        >>> inputs = torch.ones(1, 1, 4)
        >>> deletion(network, inputs, torch.tensor([[4.0, 3.0, 2.0, 1.0]]), 1).round(3)  # 1 at first, then 1/2
        array([0.562])
        >>> deletion(network, inputs, torch.tensor([[1.0, 2.0, 3.0, 4.0]]), 1).round(3)
        array([0.937])
    """
    return deletion_curves(model, inputs, maps, targets, step=step, substrate=substrate, seed=seed, batch_size=batch_size).areas()


def insertion(
    model: Model,
    inputs: Tensor,
    maps: Maps,
    targets: Any = None,
    *,
    step: int | None = None,
    substrate: float | int | str | Tensor = BLUR,
    seed: int = 0,
    batch_size: int = 32,
) -> Float[np.ndarray, " n"]:
    """Return of each sample the area under its score while the map's highest positions come back first; higher is better.

    As `deletion`, from the substrate, a blurred input, to the input itself. Arguments and errors are those of `deletion`.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from camtool.metrics import insertion
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
        >>> _ = nn.init.zeros_(network[1].weight)
        >>> network[1].weight.data[1] = torch.tensor([9.0, 0.0, 0.0, 0.0])
        >>> inputs, best = torch.ones(1, 1, 4), torch.tensor([[4.0, 3.0, 2.0, 1.0]])
        >>> insertion(network, inputs, best, 1, substrate=0.0).round(3), insertion(network, inputs, -best, 1, substrate=0.0).round(3)
        (array([0.937]), array([0.562]))
    """
    return insertion_curves(model, inputs, maps, targets, step=step, substrate=substrate, seed=seed, batch_size=batch_size).areas()


def deletion_curves(
    model: Model,
    inputs: Tensor,
    maps: Maps,
    targets: Any = None,
    *,
    step: int | None = None,
    substrate: float | int | str | Tensor = 0.0,
    seed: int = 0,
    batch_size: int = 32,
) -> ScoreCurves:
    """Return the curves whose areas `deletion` returns; the same arguments and errors.

    Pixel flipping (Bach et al. 2015, doi:10.1371/journal.pone.0130140) is this curve with a step and a substrate of its own.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from camtool.metrics import deletion_curves
        >>> found = deletion_curves(nn.Flatten(), torch.tensor([[[2.0, 1.0]]]), torch.tensor([[2.0, 1.0]]), 0)
        >>> found.fractions, found.scores.round(3)
        (array([0. , 0.5, 1. ]), array([[0.731, 0.269, 0.5  ]]))
    """
    found = ExplainedScores(model, inputs, targets, batch_size)
    return _curves(found, maps, step, seed, inside=_substrate(substrate, found.inputs), outside=found.inputs)


def insertion_curves(
    model: Model,
    inputs: Tensor,
    maps: Maps,
    targets: Any = None,
    *,
    step: int | None = None,
    substrate: float | int | str | Tensor = BLUR,
    seed: int = 0,
    batch_size: int = 32,
) -> ScoreCurves:
    """Return the curves whose areas `insertion` returns; the arguments and errors of `deletion`.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from camtool.metrics import insertion_curves
        >>> insertion_curves(nn.Flatten(), torch.tensor([[[2.0, 1.0]]]), torch.tensor([[2.0, 1.0]]), 0, substrate=0.0).scores.round(3)
        array([[0.5  , 0.881, 0.731]])
    """
    found = ExplainedScores(model, inputs, targets, batch_size)
    return _curves(found, maps, step, seed, inside=found.inputs, outside=_substrate(substrate, found.inputs))


def gaussian_blur(inputs: Float[Tensor, "n c *spatial"], taps: int = TAPS, sigma: float = SIGMA) -> Float[Tensor, "n c *spatial"]:
    """Return the inputs smoothed along every axis by a Gaussian of `taps` values with sum 1; beyond the border they are zero.

    Example:
        >>> import torch
        >>> gaussian_blur(torch.tensor([[[0.0, 4.0, 0.0]]]), taps=3, sigma=1e9)
        tensor([[[1.3333, 1.3333, 1.3333]]])
    """
    offsets = torch.arange(taps, dtype=torch.float64) - (taps - 1) / 2
    weights = (-(offsets**2) / (2 * sigma**2)).exp()
    for axis in range(2, inputs.ndim):
        blurred = torch.zeros_like(inputs)
        for offset, weight in zip(offsets.long().tolist(), (weights / weights.sum()).tolist(), strict=True):
            kept = inputs.shape[axis] - abs(offset)
            if kept > 0:
                blurred.narrow(axis, max(-offset, 0), kept).add_(inputs.narrow(axis, max(offset, 0), kept), alpha=weight)
        inputs = blurred
    return inputs


def _curves(found: ExplainedScores, maps: Maps, step: int | None, seed: int, *, inside: Tensor, outside: Tensor) -> ScoreCurves:
    """Return the scores of inputs that are `inside` where the map is highest and `outside` elsewhere, for growing shares inside."""
    ranks = removal_ranks(checked_maps(maps, found.inputs), seed)
    count, positions = ranks.shape
    size = found.inputs.shape[2:]
    step = hyperplane(tuple(size)) if step is None else whole(step, "a step of at least 1 position")
    taken = torch.tensor([*range(0, positions, step), positions], device=ranks.device)
    samples = torch.arange(count).repeat_interleave(len(taken))
    on_device = samples.to(ranks.device)

    def altered(rows: Tensor) -> Tensor:
        chosen = on_device[rows]
        is_inside = ranks[chosen] < taken[rows % len(taken)].unsqueeze(1)
        return torch.where(is_inside.unflatten(1, size).unsqueeze(1), inside[chosen], outside[chosen])

    scores = found.of(samples, altered).reshape(count, -1)
    return ScoreCurves(taken.cpu().double().numpy() / positions, scores.numpy())


def _substrate(substrate: float | int | str | Tensor, inputs: Tensor) -> Tensor:
    if isinstance(substrate, str):
        if substrate != BLUR:
            raise DataError(f"No substrate '{substrate}'{closest(substrate, [BLUR])}; expected '{BLUR}', a number or a tensor.")
        return gaussian_blur(inputs)
    expected = f"Expected a substrate that broadcasts to the inputs {tuple(inputs.shape)}, finite numbers or '{BLUR}'"
    try:
        given = as_tensor(substrate)
    except DataError as error:
        raise DataError(f"{expected}, got {substrate!r}.") from error
    if given.dtype == torch.bool or not given.isfinite().all():
        raise DataError(f"{expected}, got {'truth values' if given.dtype == torch.bool else 'NaN or infinity'}.")
    try:
        return given.to(inputs).expand_as(inputs)
    except RuntimeError as error:
        raise DataError(f"{expected}, got shape {tuple(given.shape)}.") from error
