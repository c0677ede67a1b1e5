"""Targets: what a map explains, one scalar of the network's output per sample."""

import operator
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, SupportsIndex, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from camtool.errors import CamtoolWarning, TargetError

Target: TypeAlias = Callable[[Float[Tensor, "*output"]], Float[Tensor, ""]]
"""Anything that turns one sample's output into a scalar with a gradient."""


class ClassScore:
    """The score before softmax (logit) of one class. Range of the index: 0 to classes - 1."""

    def __init__(self, index: SupportsIndex) -> None:
        self.index = operator.index(index)

    def __call__(self, logits: Float[Tensor, " classes"]) -> Float[Tensor, ""]:
        return logits[self.index]

    def __repr__(self) -> str:
        return f"ClassScore({self.index})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ClassScore) and other.index == self.index

    def __hash__(self) -> int:
        return hash(self.index)


class FromLogits:
    """Targets that depend on the scores: `choose` gets the logits (n, classes) and returns what `targets` may be otherwise.

    So that classes can be chosen, and their names be checked, with the one forward pass that the map needs anyway.
    """

    def __init__(self, choose: Callable[[Float[Tensor, "n classes"]], Any]) -> None:
        self.choose = choose


def top_k(count: int) -> FromLogits:
    """Return the `count` classes with the highest scores of each sample, best first, as targets."""
    return FromLogits(lambda logits: logits.topk(min(count, logits.shape[1]), dim=1).indices.tolist())


def find_logits(output: Any, batch: int) -> Float[Tensor, "n *output"]:
    """Return the scores in a network's output: a tensor, `.logits`, `["logits"]`, or the first tensor with the batch in front.

    Raises:
        TargetError: if there is none.
    """
    if isinstance(output, Tensor) and output.is_floating_point():
        if output.shape[:1] == (batch,):
            return output.unsqueeze(1) if output.ndim == 1 else output
        if batch == 1 and output.ndim == 1:
            return output.unsqueeze(0)  # a network that squeezes away a batch of one, as LeNet-5 of mmpretrain
    if isinstance(getattr(output, "logits", None), Tensor):
        return find_logits(output.logits, batch)
    if isinstance(output, dict):
        parts: Iterable[Any] = [output["logits"]] if "logits" in output else output.values()
    else:
        parts = output if isinstance(output, (tuple, list)) else ()
    found_in_parts = []
    for part in parts:
        with suppress(TargetError):
            found_in_parts.append(find_logits(part, batch))
    if found_in_parts:
        # Features may stand beside the scores, which are (n, classes) but for dense outputs.
        flat = [scored for scored in found_in_parts if scored.ndim == 2]
        if len({scored.shape[1] for scored in flat}) > 1:
            widths = ", ".join(str(scored.shape[1]) for scored in flat)
            warnings.warn(f"The network returns scores of {widths} classes; the first are explained.", CamtoolWarning, stacklevel=2)
        return (flat or found_in_parts)[0]
    found = f"{output.dtype} of shape {tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
    raise TargetError(f"No scores of {batch} samples in the network's output, {found}; expected floating-point numbers (n, classes).")


def resolve_targets(targets: Any, logits: Float[Tensor, "n *output"]) -> tuple[list[list[Target]], bool]:
    """Return (n lists of k targets, whether the caller asked for the k axis).

    `targets` is None (predicted class), one class for every sample, one item per sample, or one list of items per sample, all of
    one length. An item is a class index or a callable.

    Raises:
        TargetError: if the number of targets is not the number of samples, or a class does not exist.
    """
    samples = logits.shape[0]
    if logits.isnan().any():
        raise TargetError("The network's scores are NaN on this input; check the weights and the precision.")
    if isinstance(targets, FromLogits):
        targets = targets.choose(logits.detach())
    if targets is None:
        if logits.ndim != 2:
            raise TargetError(f"The network's output has shape {tuple(logits.shape)}, not (n, classes): give targets.")
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
        return [[_target(row, logits)] for row in rows], False
    lists = [[_target(item, logits) for item in _items(row)] for row in rows]
    lengths = {len(row) for row in lists}
    if len(lengths) != 1 or lengths == {0}:
        raise TargetError(f"Every sample needs the same number of targets, at least one; got {sorted(lengths)}.")
    return lists, True


def of_first_sample(targets: Any) -> Any:
    """Return `targets` for a batch of which only the first sample is kept."""
    if targets is None or isinstance(targets, FromLogits) or _is_item(targets):
        return targets
    return _items(targets)[:1]


def scores(targets: Sequence[Target], logits: Float[Tensor, "n *output"]) -> Float[Tensor, " n"]:
    """Return each sample's scalar."""
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


def _target(item: Any, logits: Tensor) -> Target:
    if callable(item) and not isinstance(item, ClassScore):
        return item
    if not isinstance(item, ClassScore):
        try:
            item = ClassScore(item)
        except TypeError as error:
            raise TargetError(f"A target is a class index or a callable, got {item!r}.") from error
    if logits.ndim != 2:
        raise TargetError(
            f"Class {item.index} of an output of shape {tuple(logits.shape)}: a class index needs (n, classes); "
            "give a callable that turns one sample's output into a number."
        )
    if not 0 <= item.index < logits.shape[1]:
        raise TargetError(
            f"Class index {item.index} is out of range: the network has {logits.shape[1]} classes, 0 to {logits.shape[1] - 1}."
        )
    return item
