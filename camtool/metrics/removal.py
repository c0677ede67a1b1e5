"""ROAD: the score after the map's highest, or lowest, positions are removed and filled in from their neighbours."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from camtool.errors import DataError, closest
from camtool.metrics.altered_inputs import ExplainedScores, Maps, Model, checked_maps, removal_ranks
from camtool.metrics.curves import ScoreCurves
from camtool.metrics.imputation import imputed
from camtool.metrics.settings import checked_seed, several_numbers

FRACTIONS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9)
NOISE = 0.01
"""Standard deviation of what is added to removed positions, in the network's normalised space."""
ORDERS = ("morf", "lerf")
_ROUNDING = 1e-9  # 0.3 * 10 may be 2.9999999999999996


@dataclass(frozen=True)
class RoadCurves:
    """Scores as the highest, and as the lowest, positions are removed, both from the unaltered input on: the fraction 0."""

    morf: ScoreCurves
    lerf: ScoreCurves

    def scores(self) -> Float[np.ndarray, " n"]:
        """Return `road`: half of how much lower the first is, in the mean over the fractions above 0."""
        return np.asarray((self.lerf.scores - self.morf.scores)[:, 1:].mean(axis=1) / 2)


def road(
    model: Model,
    inputs: Tensor,
    maps: Maps,
    targets: Any = None,
    *,
    fractions: Sequence[float] = FRACTIONS,
    seed: int = 0,
    batch_size: int = 32,
) -> Float[np.ndarray, " n"]:
    """Return of each sample half of how much lower its score is if the highest and not the lowest positions are removed; higher is better.

    Mean over the fractions of (LeRF - MoRF) / 2, in [-1/2, 1/2] for probabilities; Rong et al. 2022, arXiv:2202.00449, combined as in
    pytorch-grad-cam. A random map has about 0. `road_curves` has both parts. Differs from the paper's accuracy over a data set: it is
    the explained score of each sample. Arguments and errors are those of `road_curves`.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from camtool.metrics import road
        >>> inputs = torch.tensor([[[9.0, 0.0, 0.0, 0.0, 0.0]]])
        >>> road(nn.Flatten(), inputs, inputs.sum(dim=1), 0, fractions=[0.2]).round(2)  # without its only peak the score is 1/5
        array([0.4])
    """
    return both_curves(model, inputs, maps, targets, fractions=fractions, seed=seed, batch_size=batch_size).scores()


def road_curves(
    model: Model,
    inputs: Tensor,
    maps: Maps,
    targets: Any = None,
    *,
    order: str = "morf",
    fractions: Sequence[float] = FRACTIONS,
    seed: int = 0,
    batch_size: int = 32,
) -> ScoreCurves:
    """Return the score of each sample after each fraction of its positions is removed: the highest first (MoRF) or the lowest (LeRF).

    Rong et al. 2022, arXiv:2202.00449. A removed position becomes the weighted mean of its neighbours, by a sparse system (see
    `camtool.metrics.imputation.imputed`), plus N(0, 0.01^2). Exactly so many positions are removed as the fraction says, rounded down.
    Differs from the paper's code in that equal values have a seeded order. MoRF: lower is better; LeRF: higher. The noise is drawn once
    from the seed, the same for every sample and fraction.

    Args:
        model, inputs, maps, targets, batch_size: as of `deletion`.
        order: "morf" or "lerf".
        fractions: of the positions, above 0 and below 1, growing.
        seed: of the order of equal values and of the noise.

    Raises:
        DataError: as of `deletion`, or if there is no such order, or a fraction is out of range or removes no position.
        TargetError: as of `deletion`.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from camtool.metrics import road_curves
        >>> inputs = torch.tensor([[[9.0, 0.0, 0.0, 0.0, 0.0]]])
        >>> road_curves(nn.Flatten(), inputs, inputs.sum(dim=1), 0, fractions=[0.2, 0.4]).scores.round(2)
        array([[0.2, 0.2]])
    """
    return _removed(ExplainedScores(model, inputs, targets, batch_size), maps, order, fractions, seed)


def both_curves(
    model: Model,
    inputs: Tensor,
    maps: Maps,
    targets: Any = None,
    *,
    fractions: Sequence[float] = FRACTIONS,
    seed: int = 0,
    batch_size: int = 32,
) -> RoadCurves:
    """Return the curves of both orders, and what `road` makes of them; arguments and errors are those of `road_curves`.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from camtool.metrics.removal import both_curves
        >>> inputs = torch.tensor([[[9.0, 0.0, 0.0, 0.0, 0.0]]])
        >>> found = both_curves(nn.Flatten(), inputs, inputs.sum(dim=1), 0, fractions=[0.2])
        >>> found.morf.scores.round(2), found.lerf.scores.round(2)
        (array([[1. , 0.2]]), array([[1., 1.]]))
    """
    found = ExplainedScores(model, inputs, targets, batch_size)
    before = found.before.double().numpy()[:, None]

    def curves(order: str) -> ScoreCurves:
        removed = _removed(found, maps, order, fractions, seed)
        return ScoreCurves(np.concatenate([[0.0], removed.fractions]), np.concatenate([before, removed.scores], axis=1))

    return RoadCurves(*map(curves, ORDERS))


def _removed(found: ExplainedScores, maps: Maps, order: str, fractions: Sequence[float], seed: int) -> ScoreCurves:
    if order not in ORDERS:
        raise DataError(f"No order '{order}' of removal{closest(str(order), ORDERS)}; expected {' or '.join(ORDERS)}.")
    shares = several_numbers(fractions, "fractions above 0 and below 1 that grow")
    if not shares or not all(0 < share < 1 for share in shares) or sorted(set(shares)) != shares:
        raise DataError(f"Expected fractions above 0 and below 1 that grow, got {shares}.")
    checked = checked_maps(maps, found.inputs)
    ranks = removal_ranks(checked if order == "morf" else -checked, seed)
    count, positions = ranks.shape
    size = found.inputs.shape[2:]
    taken = torch.tensor([int(share * positions + _ROUNDING) for share in shares], device=ranks.device)
    if taken[0] == 0:
        raise DataError(
            f"Expected fractions that remove a position, got {shares[0]:g}, which is less than one of {positions}; leave it out, or try "
            f"fractions of at least {1 / positions:.3g}."
        )
    generator = torch.Generator().manual_seed(checked_seed(seed))
    noise = NOISE * torch.randn(found.inputs.shape[1:], generator=generator).to(found.inputs)
    samples = torch.arange(count).repeat_interleave(len(shares))
    on_device = samples.to(ranks.device)

    def altered(rows: Tensor) -> Tensor:
        chosen = on_device[rows]
        removed = (ranks[chosen] < taken[rows % len(shares)].unsqueeze(1)).unflatten(1, size)
        return imputed(found.inputs[chosen], removed) + noise * removed.unsqueeze(1)

    scores = found.of(samples, altered).reshape(count, -1)
    return ScoreCurves(np.array(shares), scores.numpy())
