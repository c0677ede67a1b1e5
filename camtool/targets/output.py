"""Scores in a network's output: a tensor with the batch axis first, or one output per sample."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

from jaxtyping import Float
from torch import Tensor

from camtool.errors import TargetError, some, times, warn
from camtool.targets.output_parts import OutputName, Place, children, find_part, name_of, parts_of

DETECTION_KEYS = ("boxes", "scores", "labels")
"""Keys of the dict that torchvision's detectors return for a sample."""


class PerSample(list[Any]):
    """Outputs of different shape by sample: dicts such as a detector's {boxes (k, 4), scores (k), labels (k), …}.

    A list with a tensor's `ndim`, `shape` and `detach`; its only axis is that of the samples.

    Example:
        >>> from camtool.targets import PerSample
        >>> output = PerSample([{"boxes": [], "scores": [], "labels": []}])
        >>> output.shape, output.ndim
        ((1,), 1)
    """

    ndim = 1

    @property
    def shape(self) -> tuple[int]:
        """(n,); there is no axis of classes."""
        return (len(self),)

    def detach(self) -> "PerSample":
        """Return the same outputs without a graph."""
        return PerSample({key: _detached(value) for key, value in of_sample.items()} for of_sample in self)

    def are_detections(self) -> bool:
        """Return whether each sample has boxes, scores and labels."""
        return all(isinstance(of_sample.get(key), Tensor) for of_sample in self for key in DETECTION_KEYS)

    def has_nan(self) -> bool:
        """Return whether a score is NaN, or, of other outputs than detections, any number."""
        numbers = [of_sample["scores"] if self.are_detections() else list(of_sample.values()) for of_sample in self]
        return any(bool(tensor.isnan().any()) for tensor in _tensors(numbers))


Output: TypeAlias = Float[Tensor, "n *output"] | PerSample
"""The scores of a batch."""


def described(output: Output) -> str:
    """Return the shape of the scores for error messages, "detections" for a detector's."""
    if isinstance(output, Tensor):
        return str(tuple(output.shape))
    return "detections" if output.are_detections() else f"a dict of {', '.join(map(str, output[0]))} for each sample"


def samples_of(output: Output, chosen: slice) -> Tensor | PerSample:
    """Return the scores of some samples of the batch.

    Example:
        >>> import torch
        >>> from camtool.targets import samples_of
        >>> samples_of(torch.zeros(4, 10), slice(1, 3)).shape
        torch.Size([2, 10])
    """
    return output[chosen] if isinstance(output, Tensor) else PerSample(output[chosen])


@dataclass(frozen=True)
class ExplainedOutput:
    """Which of a network's outputs is explained.

    Example:
        >>> import torch
        >>> from camtool.targets import explained_output
        >>> explained = explained_output({"age": torch.zeros(2, 1), "race": torch.zeros(2, 5)}, batch=2, name="race")
        >>> explained.name, explained.shapes
        ('race', {'age': (1,), 'race': (5,)})
    """

    name: str
    """Its name, as "race" or "heads.0"; "" if the network returns nothing else."""
    shapes: dict[str, tuple[int, ...]]
    """Shape of one sample's part of every output that could be explained, by name."""
    rivals: tuple[str, ...] = ()
    """Names of those that could be meant as well, where none was named and the network does not say which are its scores; with `name`."""
    remark: str = ""
    """The same in words; "" where there are none."""


def find_logits(output: Any, batch: int) -> Output:
    """Return the scores in a network's output: a tensor, `.logits`, `["logits"]`, or the first tensor with the batch in front.

    A list of dicts, one per sample, as a detector's, becomes PerSample; only dicts with "logits" are read as other outputs are. Warns if
    there are scores of several numbers of classes.

    Raises:
        TargetError: if there is none.

    Example:
        >>> import torch
        >>> from camtool.targets import find_logits
        >>> find_logits({"features": torch.zeros(2, 8, 7, 7), "logits": torch.zeros(2, 10)}, batch=2).shape
        torch.Size([2, 10])
    """
    explained = explained_output(output, batch)
    if len({explained.shapes[rival][0] for rival in explained.rivals}) > 1:
        warn(explained.remark)
    return scores_in(output, batch)


def scores_in(output: Any, batch: int) -> Output:
    """Return the scores in a network's output, as `find_logits`, without a remark.

    Example:
        >>> import torch
        >>> from camtool.targets import scores_in
        >>> scores_in((torch.zeros(2, 10), torch.zeros(2, 5)), batch=2).shape
        torch.Size([2, 10])
    """
    return _located(output, batch)[1]


def explained_output(output: Any, batch: int, name: OutputName = None) -> ExplainedOutput:
    """Return which part of a network's output is explained: the one of that name, or the scores in it; and what else there is.

    Raises:
        TargetError: if there is no such part, or no scores in it.

    Example:
        >>> import torch
        >>> from camtool.targets import explained_output
        >>> explained_output((torch.zeros(2, 10), torch.zeros(2, 5)), batch=2).name
        '0'
    """
    place, part = find_part(output, name)
    inner, logits = _located(part, batch)
    if isinstance(logits, PerSample) or isinstance(output, Tensor):
        return ExplainedOutput(name_of(place), {})
    found = [(name_of(other), _as_scores(tensor, batch)) for other, tensor in parts_of(output)]
    shapes = {other: tuple(tensor.shape[1:]) for other, tensor in found if tensor is not None}
    explained = name_of((*place, *inner))
    rivals = [other for other, shape in shapes.items() if len(shape) == logits.ndim - 1]
    if name is not None or "logits" in inner or len(rivals) < 2:  # the user or the network says which are the scores
        return ExplainedOutput(explained, shapes)
    flat = logits.ndim == 2
    what = f"scores of {', '.join(str(shapes[rival][0]) for rival in rivals)} classes" if flat else f"{len(rivals)} outputs of one kind"
    others = some([f"'{rival}' ({times(shapes[rival])})" for rival in rivals if rival != explained], 8)
    remark = f"The network returns {what}; the maps explain the first, output '{explained}'. output= (--output) chooses another: {others}."
    return ExplainedOutput(explained, shapes, tuple(rivals), remark)


def _located(output: Any, batch: int) -> tuple[Place, Output]:
    if _is_by_sample(output, batch):  # checked first: there may be as many boxes as samples
        return (), PerSample(output)
    if batch == 1 and isinstance(output, Tensor) and output.ndim == 0:  # fully squeezed; inside a tuple a scalar would be a loss
        output = output.unsqueeze(0)
    return _find_tensor(output, batch)


def _is_by_sample(output: Any, batch: int) -> bool:
    if not isinstance(output, (list, tuple)) or len(output) != batch or not all(isinstance(part, Mapping) for part in output):
        return False
    if PerSample(output).are_detections():
        return True
    # Stages or tasks, each with the scores of the whole batch, would be a tuple, have other keys each, or name their logits.
    return isinstance(output, list) and "logits" not in output[0] and all(part.keys() == output[0].keys() for part in output)


def _detached(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, Mapping):
        return {key: _detached(part) for key, part in value.items()}
    return [_detached(part) for part in value] if isinstance(value, (list, tuple)) else value


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (Mapping, list, tuple)):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _tensors(part)


def _as_scores(output: Any, batch: int) -> Tensor | None:
    """Return a tensor with the batch in front as scores; None for anything else."""
    if not isinstance(output, Tensor) or not output.is_floating_point():
        return None
    if output.shape[:1] == (batch,):
        return output.unsqueeze(1) if output.ndim == 1 else output
    # A network that squeezes away a batch of one, as LeNet-5 of mmpretrain.
    return output.unsqueeze(0) if batch == 1 and output.ndim == 1 else None


def _find_tensor(output: Any, batch: int) -> tuple[Place, Float[Tensor, "n *output"]]:
    """Return the scores and their place."""
    own = _as_scores(output, batch)
    if own is not None:
        return (), own
    if isinstance(getattr(output, "logits", None), Tensor):
        place, tensor = _find_tensor(output.logits, batch)
        return ("logits", *place), tensor
    named = isinstance(output, dict) and "logits" in output
    candidates = []
    for key, part in [("logits", output["logits"])] if named else children(output):
        with suppress(TargetError):
            place, tensor = _find_tensor(part, batch)
            candidates.append(((key, *place), tensor))
    if candidates:
        # Features may stand beside the scores, which are (n, classes) but for dense outputs.
        return next((candidate for candidate in candidates if candidate[1].ndim == 2), candidates[0])
    description = f"{output.dtype} of shape {tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
    raise TargetError(f"No scores of {batch} samples in the network's output, {description}; expected floating-point numbers (n, classes).")
