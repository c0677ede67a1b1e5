"""Masked passes: what is left of a score if the network sees only what the map shows, `basic` and `logit`."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from camtool.errors import DataError, closest

KINDS = ("basic", "logit")
EPS = 1e-7  # the seed's

Forward: TypeAlias = Callable[[Tensor], Tensor]
"""Returns the logits (n, classes) of preprocessed inputs (n, c, *spatial)."""


@dataclass(frozen=True)
class MaskedBatch:
    """Samples, and their maps on the data set's scale at the input's size, not clipped."""

    inputs: Float[Tensor, "n c *spatial"]
    maps: Float[Tensor, "n *cells"]
    explained: Sequence[int | None]
    """Class that each map explains."""
    labels: Sequence[int | None]
    predicted: Sequence[int | None] = ()
    """Class that the run's network predicted of each; () if that is not known."""


@dataclass(frozen=True)
class MaskedEffect:
    """Change of the scores where inputs are multiplied by their maps, clipped to [0, 1]."""

    drop: float
    """Mean of relu(p - p') / (|p| + 1e-7): the share of the score that is lost."""
    increase: float
    """Share of samples whose score is higher than before."""
    accuracy_before: float
    """NaN without labels."""
    accuracy_after: float
    count: int
    """Number of samples."""
    left_out: int = 0
    """Number of samples without a label, which `logit` needs, or without an explained class, which `basic` needs."""
    differing: int = 0
    """Number of samples, of those that count, for which the network predicts another class than the run's did."""


def masked_effect(
    forward: Forward, batches: Iterable[MaskedBatch], kind: str = "basic", *, probabilities: Forward | None = None
) -> MaskedEffect:
    """Return what masking by the maps does to the scores: `basic` to the explained class's probability, `logit` to the label's logit.

    Differs from the seed for `logit`: the drop is over |p|, since a logit may be negative.

    Args:
        probabilities: of logits (n, classes); None: their softmax.

    Raises:
        DataError: if there is no such kind, maps are not of the inputs' size, or no sample can be compared.

    Example:
        >>> import torch
        >>> def forward(inputs):  # the score of class 1 is the sum
        ...     return torch.stack([torch.zeros(len(inputs)), inputs.flatten(1).sum(dim=1)], dim=1)
        >>> batch = MaskedBatch(torch.full((1, 1, 2), 2.0), torch.tensor([[1.5, -1.0]]), [1], [1])
        >>> found = masked_effect(forward, [batch], "logit")
        >>> round(found.drop, 6), found.increase, found.accuracy_after
        (0.5, 0.0, 1.0)
    """
    if kind not in KINDS:
        raise DataError(f"No evaluation '{kind}'{closest(kind, KINDS)}; expected {' or '.join(KINDS)}.")
    drops: list[float] = []
    raised: list[float] = []
    right: list[tuple[float, float]] = []
    left_out = differing = 0
    to_scores = _scores_of(kind, probabilities)
    for batch in batches:
        before, after = _passes(forward, batch)
        scores, masked_scores = to_scores(before), to_scores(after)
        chosen = batch.explained if kind == "basic" else batch.labels
        for sample, (index, label) in enumerate(zip(chosen, batch.labels, strict=True)):
            if index is None:
                left_out += 1
                continue
            p, masked = float(scores[sample, index]), float(masked_scores[sample, index])
            answer = int(before[sample].argmax())
            differing += bool(batch.predicted) and batch.predicted[sample] not in (None, answer)
            drops.append(max(p - masked, 0.0) / (abs(p) + EPS))
            raised.append(float(p < masked))
            if label is not None:
                right.append((float(answer == label), float(int(after[sample].argmax()) == label)))
    if not drops:
        raise DataError(f"No sample for the evaluation '{kind}'; {left_out} have no class to look at.")
    accuracy_before, accuracy_after = (_mean([pair[place] for pair in right]) for place in (0, 1))
    return MaskedEffect(
        _mean(drops), _mean(raised), accuracy_before, accuracy_after, count=len(drops), left_out=left_out, differing=differing
    )


def _passes(forward: Forward, batch: MaskedBatch) -> tuple[Tensor, Tensor]:
    if batch.maps.shape[1:] != batch.inputs.shape[2:]:
        raise DataError(
            f"Expected maps of the inputs' size {tuple(batch.inputs.shape[2:])}, got {tuple(batch.maps.shape[1:])}; resize them first."
        )
    with torch.no_grad():
        mask = batch.maps.clamp(0, 1).to(batch.inputs)[:, None]
        return forward(batch.inputs).double(), forward(batch.inputs * mask).double()


def _scores_of(kind: str, probabilities: Forward | None) -> Forward:
    if kind == "logit":
        return lambda logits: logits
    return probabilities or (lambda logits: logits.softmax(dim=1))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")
