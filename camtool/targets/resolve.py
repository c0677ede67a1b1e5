"""What may be given as targets, and what becomes of it: one list of callables per sample, and their scalars."""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from camtool.errors import TargetError
from camtool.targets._base import Target
from camtool.targets.class_score import ClassScore
from camtool.targets.output import Output, described


class FromLogits:
    """Targets that depend on the scores: `choose` gets the network's output, as (n, classes), and returns what `targets` may be otherwise.

    So that classes can be chosen, and their names be checked, with the one forward pass that the map needs anyway.
    """

    def __init__(self, choose: Callable[[Any], Any]) -> None:
        self.choose = choose


def top_k(count: int) -> FromLogits:
    """Return the `count` classes with the highest scores of each sample, best first, as targets."""

    def choose(logits: Output) -> list[list[int]]:
        if not isinstance(logits, Tensor) or logits.ndim != 2:
            raise TargetError(f"The network's output is {described(logits)}; the best classes are chosen of (n, classes).")
        return logits.topk(min(count, logits.shape[1]), dim=1).indices.tolist()

    return FromLogits(choose)


def resolve_targets(targets: Any, logits: Output) -> tuple[list[list[Target]], bool]:
    """Return (n lists of k targets, whether the caller asked for the k axis).

    `targets` is None (predicted class), one class for every sample, one item per sample, or one list of items per sample, all of
    one length. An item is a class index or a callable.

    Raises:
        TargetError: if the number of targets is not the number of samples, or a class does not exist.
    """
    samples = logits.shape[0]
    if logits.isnan().any() if isinstance(logits, Tensor) else logits.has_nan():
        raise TargetError("The network's scores are NaN on this input; check the weights and the precision.")
    if isinstance(targets, FromLogits):
        targets = targets.choose(logits.detach())
    if targets is None:
        if not isinstance(logits, Tensor) or logits.ndim != 2:
            raise TargetError(f"The network's output is {described(logits)}, not (n, classes): give targets.")
        targets = logits.argmax(dim=1).tolist()
    if _is_item(targets):
        targets = [targets] * samples
    rows = _items(targets)
    if len(rows) != samples:
        raise TargetError(f"Expected one target per sample: {samples} samples, {len(rows)} targets.")
    nested = [not _is_item(row) for row in rows]
    if any(nested) and not all(nested):
        raise TargetError("Give either one target or one list of targets for each sample, not a mixture.")
    if not any(nested):
        return [[_target(row, logits, sample)] for sample, row in enumerate(rows)], False
    lists = [[_target(item, logits, sample) for item in _items(row)] for sample, row in enumerate(rows)]
    lengths = {len(row) for row in lists}
    if len(lengths) != 1 or lengths == {0}:
        raise TargetError(f"Every sample needs the same number of targets, at least one; got {sorted(lengths)}.")
    return lists, True


def of_first_sample(targets: Any) -> Any:
    """Return `targets` for a batch of which only the first sample is kept."""
    if targets is None or isinstance(targets, FromLogits) or _is_item(targets):
        return targets
    return _items(targets)[:1]


def of_copies(targets: list[list[Target]], flipped: Sequence[bool], width: int) -> list[list[Target]]:
    """Return the targets of several batches, one behind the other; what has a place in the picture is mirrored with it."""

    def of_copy(target: Target) -> Target:
        change = getattr(target, "flipped", None)
        return target if change is None else change(width)

    return [[of_copy(target) for target in row] if is_flipped else row for is_flipped in flipped for row in targets]


def scores(targets: Sequence[Target], logits: Output) -> Float[Tensor, " n"]:
    """Return each sample's scalar."""
    if isinstance(logits, Tensor) and logits.ndim == 2 and all(type(target) is ClassScore for target in targets):
        # One kernel, not one for each sample, on the way there and on the way back.
        indices = torch.tensor([target.index for target in targets], device=logits.device)  # type: ignore[attr-defined]  # ClassScore
        return logits.gather(1, indices.unsqueeze(1)).squeeze(1)
    values = [target(sample) for target, sample in zip(targets, logits, strict=True)]
    for target, value in zip(targets, values, strict=True):
        if not isinstance(value, Tensor) or value.ndim != 0:
            found = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
            raise TargetError(f"A target must give one number per sample, a tensor without axes; {target!r} gave {found}.")
    return torch.stack(values)


def _is_item(value: Any) -> bool:
    if callable(value):
        return True
    if isinstance(value, Tensor) and value.ndim > 0:
        return False
    try:
        operator.index(value)
    except TypeError:
        return False
    return True


def _items(several: Any) -> list[Any]:
    try:
        return list(several)
    except TypeError as error:
        raise TargetError(f"A target is a class index or a callable, or a list of these, got {several!r}.") from error


def _target(item: Any, logits: Output, sample: int) -> Target:
    if not callable(item):
        try:
            item = ClassScore(item)
        except TypeError as error:
            raise TargetError(f"A target is a class index or a callable, got {item!r}.") from error
    fitted = getattr(item, "fitted", None)
    return item if fitted is None else fitted(logits, sample)
