"""Average drop, increase, gain and ADCC: the score of the input seen through its map."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from camtool.errors import DataError
from camtool.functional import min_max
from camtool.metrics.altered_inputs import ExplainedScores, Maps, Model, checked_maps
from camtool.metrics.rank_correlation import pearson
from camtool.metrics.settings import callable_of, truth

Explain: TypeAlias = Callable[[Tensor, list[Any]], Maps]
"""Returns maps (n, *spatial) of inputs (n, c, *spatial) for targets, one a sample: class indices where that is what they are."""


@dataclass(frozen=True)
class MaskedScores:
    """Scores Y of the inputs, and O of the inputs multiplied by their maps.

    Example:
        >>> import numpy as np
        >>> from camtool.metrics import MaskedScores
        >>> found = MaskedScores(np.array([0.8, 0.5]), np.array([0.2, 0.75]))
        >>> found.drop.round(3), found.increase, found.gain
        (array([0.75, 0.  ]), array([0., 1.]), array([0. , 0.5]))
    """

    before: Float[np.ndarray, " n"]
    after: Float[np.ndarray, " n"]

    @property
    def drop(self) -> Float[np.ndarray, " n"]:
        """relu(Y - O) / Y; DataError where Y is not above 0."""
        if not (self.before > 0).all():
            sample = int(np.flatnonzero(~(self.before > 0))[0])
            raise DataError(
                f"Expected a score above 0 that can drop, got {self.before[sample]:.3g} of sample {sample}; explain a class of some "
                "probability, or leave the sample out."
            )
        return np.asarray(np.maximum(self.before - self.after, 0) / self.before)

    @property
    def increase(self) -> Float[np.ndarray, " n"]:
        """1 where O > Y, else 0."""
        return (self.after > self.before).astype(np.float64)

    @property
    def gain(self) -> Float[np.ndarray, " n"]:
        """relu(O - Y) / (1 - Y), 0 where Y is 1; DataError where Y is no probability."""
        if not ((self.before >= 0) & (self.before <= 1)).all():
            raise DataError("Expected probabilities for the gain, got scores outside of [0, 1]; explain a class by its index.")
        room = 1 - self.before
        return np.asarray(np.maximum(self.after - self.before, 0) / np.where(room > 0, room, 1))


def masked_scores(
    model: Model, inputs: Tensor, maps: Maps, targets: Any = None, *, scale: bool = True, batch_size: int = 32
) -> MaskedScores:
    """Return the scores of the inputs and of the inputs multiplied by their maps: drop, increase and gain from the same passes.

    Args:
        model, inputs, maps, targets, batch_size: as of `deletion`.
        scale: multiply by each map scaled to [0, 1]; False: by maps that are masks in [0, 1] already, one of ones included.

    Raises:
        DataError: as of `deletion`, or if a mask is outside of [0, 1].
        TargetError: as of `deletion`.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from camtool.metrics import masked_scores
        >>> found = masked_scores(nn.Flatten(), torch.tensor([[[2.0, 1.0]]]), torch.tensor([[1.0, 5.0]]), 0)  # scores 2, 1; then 0, 1
        >>> found.before.round(3), found.after.round(3)
        (array([0.731]), array([0.269]))
    """
    found = ExplainedScores(model, inputs, targets, batch_size)
    return _masked(found, _mask(maps, found.inputs, scale))


def average_drop(
    model: Model, inputs: Tensor, maps: Maps, targets: Any = None, *, scale: bool = True, batch_size: int = 32
) -> Float[np.ndarray, " n"]:
    """Return of each sample the share of its score that is lost if the input is seen through the map; lower is better.

    relu(Y - O) / Y in [0, 1], O = f(x * minmax(M)); Chattopadhay et al. 2018, arXiv:1710.11063. Arguments and errors are those of
    `masked_scores`; a score Y that is not above 0 is refused. A map that lets everything through loses nothing, so that this rewards
    maps that let more through: it ranks truth, noise and inverted, but is not monotone from the truth to noise. See `adcc`.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from camtool.metrics import average_drop
        >>> inputs = torch.tensor([[[2.0, 1.0]]])
        >>> average_drop(nn.Flatten(), inputs, torch.tensor([[1.0, 5.0]]), 0).round(3)
        array([0.632])
        >>> average_drop(nn.Flatten(), inputs, torch.ones(1, 2), 0, scale=False)
        array([0.])
    """
    return masked_scores(model, inputs, maps, targets, scale=scale, batch_size=batch_size).drop


def increase(
    model: Model, inputs: Tensor, maps: Maps, targets: Any = None, *, scale: bool = True, batch_size: int = 32
) -> Float[np.ndarray, " n"]:
    """Return of each sample 1 if its score rises where the input is seen through the map, else 0; higher is better.

    Increase in confidence, 1[O > Y]; Chattopadhay et al. 2018, arXiv:1710.11063. Arguments and errors are those of `masked_scores`.
    A step, and not monotone from the truth to noise: it does not tell maps apart where no score rises, as on a network without evidence
    against the class.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from camtool.metrics import increase
        >>> increase(nn.Flatten(), torch.tensor([[[2.0, 1.0]]]), torch.tensor([[5.0, 1.0]]), 0)
        array([1.])
    """
    return masked_scores(model, inputs, maps, targets, scale=scale, batch_size=batch_size).increase


def gain(
    model: Model, inputs: Tensor, maps: Maps, targets: Any = None, *, scale: bool = True, batch_size: int = 32
) -> Float[np.ndarray, " n"]:
    """Return of each sample the share of what its probability lacks to 1 that is won through the map, in [0, 1]; higher is better.

    Average gain, relu(O - Y) / (1 - Y); Zhang et al. 2024, arXiv:2309.14304 (Opti-CAM). Arguments and errors are those of
    `masked_scores`; scores that are no probabilities are refused. As `increase` it is not monotone: it does not tell maps apart where no
    score rises.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from camtool.metrics import gain
        >>> gain(nn.Flatten(), torch.tensor([[[2.0, 1.0]]]), torch.tensor([[5.0, 1.0]]), 0).round(3)
        array([0.557])
    """
    return masked_scores(model, inputs, maps, targets, scale=scale, batch_size=batch_size).gain


def adcc(
    model: Model, inputs: Tensor, maps: Maps, explain: Explain, targets: Any = None, *, scale: bool = True, batch_size: int = 32
) -> Float[np.ndarray, " n"]:
    """Return of each sample the harmonic mean of coherency, 1 - complexity and 1 - drop, in [0, 1]; higher is better.

    Poppi et al. 2021, arXiv:2104.10252. Coherency is (r + 1) / 2 with Pearson's r of the map and the map of the input seen through it;
    complexity the mean of the map in [0, 1]; drop as of `average_drop`. 0 where one of the three is 0. A second map that is the same
    everywhere has r = 0. Coherency is the method's own steadiness and tells nothing of the truth.

    Args:
        explain: a function of inputs and targets that returns maps of the inputs' size, by the method that made `maps`.

    Raises:
        DataError, TargetError: as of `average_drop`, also for the maps that `explain` returns.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from camtool.metrics import adcc
        >>> def explain(inputs, targets):
        ...     return inputs.sum(dim=1)
        >>> inputs = torch.tensor([[[2.0, 1.0, 0.0]]])  # seen through its map: 2, 1/2, 0
        >>> adcc(nn.Flatten(), inputs, explain(inputs, [0]), explain, 0).round(3)
        array([0.746])
    """
    found = ExplainedScores(model, inputs, targets, batch_size)
    masks = _mask(maps, found.inputs, scale)
    loss = _masked(found, masks).drop
    again = []
    callable_of(explain, "a function of inputs and targets that returns maps")
    for start in range(0, len(masks), found.batch_size):
        part = slice(start, start + found.batch_size)
        seen = found.inputs[part] * masks[part].unsqueeze(1)
        again.append(checked_maps(explain(seen, found.given_targets[part]), seen, varied=False).cpu().double())
    coherency = (pearson(masks.cpu().double().flatten(1).numpy(), torch.cat(again).flatten(1).numpy(), undefined=0.0) + 1) / 2
    parts = np.stack([coherency, 1 - masks.double().flatten(1).mean(dim=1).cpu().numpy(), 1 - loss]).clip(0, 1)
    none = (parts == 0).any(axis=0)
    return np.asarray(np.where(none, 0.0, 3 / (1 / np.where(none, 1.0, parts)).sum(axis=0)))


def _mask(maps: Maps, inputs: Tensor, scale: bool) -> Tensor:
    found = checked_maps(maps, inputs, varied=truth(scale, "scale"))
    if scale:
        return min_max(found).to(inputs.dtype)
    if found.min() < 0 or found.max() > 1:
        raise DataError(f"Expected masks in [0, 1], got values from {found.min():.3g} to {found.max():.3g}; try scale=True.")
    return found.to(inputs.dtype)


def _masked(found: ExplainedScores, masks: Tensor) -> MaskedScores:
    after = found.of(torch.arange(len(masks)), lambda rows: found.inputs[rows] * masks[rows].unsqueeze(1))
    return MaskedScores(found.before.numpy(), after.numpy())
