"""Conversion of the user's targets to one list of callables per sample, and their scalars."""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from camtool.errors import NOT_FINITE, TargetError
from camtool.targets._base import Target
from camtool.targets.class_score import ClassScore
from camtool.targets.output import Output, described


class FromLogits:
    """Targets chosen from the scores: `choose` gets the network's output (n, classes) and returns any other form of targets.

    Classes are chosen, and their names checked, in the forward pass that the maps need anyway.

    Example:
        >>> import torch
        >>> from camtool.targets import FromLogits, resolve_targets
        >>> worst = FromLogits(lambda logits: logits.argmin(dim=1).tolist())
        >>> resolve_targets(worst, torch.tensor([[3.0, 1.0, 2.0]]))
        ([[ClassScore(1)]], False)
    """

    def __init__(self, choose: Callable[[Any], Any]) -> None:
        self.choose = choose


def top_k(count: int) -> FromLogits:
    """Return the `count` classes with the highest scores of each sample, best first, as targets.

    Example:
        >>> import torch
        >>> from camtool.targets import resolve_targets, top_k
        >>> resolve_targets(top_k(2), torch.tensor([[3.0, 1.0, 2.0]]))
        ([[ClassScore(0), ClassScore(2)]], True)
    """

    def choose(logits: Output) -> list[list[int]]:
        if not isinstance(logits, Tensor) or logits.ndim != 2:
            raise TargetError(f"The network's output is {described(logits)}; the best classes are chosen of (n, classes).")
        return logits.topk(min(count, logits.shape[1]), dim=1).indices.tolist()

    return FromLogits(choose)


def resolve_targets(targets: Any, logits: Output) -> tuple[list[list[Target]], bool]:
    """Return (n lists of k targets, whether `targets` has the k axis).

    `targets` is None (predicted class), one class for every sample, one item per sample, or one list of items per sample, all of
    one length. An item is a class index or a callable.

    Raises:
        TargetError: if the number of targets is not the number of samples, or a class does not exist.

    Example:
        >>> import torch
        >>> from camtool.targets import resolve_targets
        >>> resolve_targets(None, torch.tensor([[1.0, 2.0], [4.0, 3.0]]))
        ([[ClassScore(1)], [ClassScore(0)]], False)
    """
    samples = logits.shape[0]
    if logits.isnan().any() if isinstance(logits, Tensor) else logits.has_nan():
        raise TargetError("The network's scores are NaN on this input; check the weights and the precision.", status=NOT_FINITE)
    if isinstance(targets, FromLogits):
        targets = targets.choose(logits.detach())
    if targets is None:
        if not isinstance(logits, Tensor) or logits.ndim != 2:
            raise TargetError(
                f"The network's output is {described(logits)}, not (n, classes), so there is no predicted class: give targets."
            )
        targets = logits.argmax(dim=1).tolist()
    if _is_item(targets):
        targets = [targets] * samples
    rows = _items(targets)
    if len(rows) != samples:
        raise TargetError(f"Expected one target per sample: {samples} samples, {len(rows)} targets.")
    nested = [not _is_item(row) for row in rows]
    if any(nested) and not all(nested):
        raise TargetError("Expected either one target or one list of targets for each sample, got a mixture.")
    if any(nested):
        _refuse_labels(rows, logits)
    if not any(nested):
        return [[_target(row, logits, sample)] for sample, row in enumerate(rows)], False
    lists = [[_target(item, logits, sample) for item in _items(row)] for sample, row in enumerate(rows)]
    lengths = {len(row) for row in lists}
    if len(lengths) != 1 or lengths == {0}:
        raise TargetError(f"Expected the same number of targets for every sample, at least one; got {sorted(lengths)}.")
    return lists, True


def of_first_sample(targets: Any) -> Any:
    """Return the part of `targets` that belongs to the first sample.

    Example:
        >>> from camtool.targets import of_first_sample
        >>> of_first_sample([3, 5]), of_first_sample(7), of_first_sample(None)
        ([3], 7, None)
    """
    if targets is None or isinstance(targets, FromLogits) or _is_item(targets):
        return targets
    return _items(targets)[:1]


def of_copies(targets: list[list[Target]], flipped: Sequence[bool], width: int) -> list[list[Target]]:
    """Return the targets of several batches in a row; targets with a position are mirrored in flipped ones.

    Example:
        >>> from camtool.targets import ClassScore, of_copies
        >>> of_copies([[ClassScore(3)]], flipped=[False, True], width=224)
        [[ClassScore(3)], [ClassScore(3)]]
    """

    def of_copy(target: Target) -> Target:
        change = getattr(target, "flipped", None)
        return target if change is None else change(width)

    return [[of_copy(target) for target in row] if is_flipped else row for is_flipped in flipped for row in targets]


def scores(targets: Sequence[Target], logits: Output) -> Float[Tensor, " n"]:
    """Return each sample's scalar.

    Example:
        >>> import torch
        >>> from camtool.targets import ClassContrast, ClassScore, scores
        >>> scores([ClassScore(1), ClassContrast(0, 1)], torch.tensor([[1.0, 2.0], [4.0, 3.0]]))
        tensor([2., 1.])
    """
    if isinstance(logits, Tensor) and logits.ndim == 2 and all(type(target) is ClassScore for target in targets):
        # One kernel in the forward and backward pass, not one for each sample.
        indices = torch.tensor([target.index for target in targets], device=logits.device)  # type: ignore[attr-defined]  # ClassScore
        return logits.gather(1, indices.unsqueeze(1)).squeeze(1)
    values = [target(sample) for target, sample in zip(targets, logits, strict=True)]
    for target, value in zip(targets, values, strict=True):
        if not isinstance(value, Tensor) or value.ndim != 0:
            description = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
            raise TargetError(f"A target must give one number per sample, a tensor without axes; {target!r} gave {description}.")
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


def _refuse_labels(rows: Sequence[Any], logits: Output) -> None:
    """Raise TargetError for labels (n, classes) of 0 and 1, which would be read as lists of the classes 0 and 1."""
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        return
    lists = [_items(row) for row in rows]
    are_labels = all(len(row) == logits.shape[1] and not any(map(callable, row)) and all(item in (0, 1) for item in row) for row in lists)
    # Of two classes, 0 1 and 1 0 are lists of both.
    if are_labels and any(len(row) > len({float(item) for item in row}) for row in lists):
        raise TargetError(
            f"Expected class indices, got one number, 0 or 1, for each of the {logits.shape[1]} classes: labels, not classes. Give the "
            "indices of the classes to explain, as [8, 9] for a sample, by `labels[0].nonzero().flatten().tolist()`."
        )


def _items(several: Any) -> list[Any]:
    try:
        return list(several)
    except TypeError as error:
        raise TargetError(f"Expected a class index or a callable, or a list of these, as targets, got {several!r}.") from error


def _target(item: Any, logits: Output, sample: int) -> Target:
    if not callable(item):
        try:
            item = ClassScore(item)
        except TypeError as error:
            raise TargetError(f"Expected a class index or a callable as target, got {item!r}.") from error
    fitted = getattr(item, "fitted", None)
    return item if fitted is None else fitted(logits, sample)
