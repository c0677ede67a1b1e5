"""Where the scores are in what a network returns: a tensor with the batch in front, or one output per sample."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, TypeAlias

from jaxtyping import Float
from torch import Tensor

from camtool.errors import TargetError, warn

DETECTION_KEYS = ("boxes", "scores", "labels")
"""What torchvision's detectors return for a sample."""


class PerSample(list[Any]):
    """One output per sample, where samples differ in shape: a detector's dicts {boxes (k, 4), scores (k), labels (k), …}.

    A list that answers as a tensor with a single axis, the samples, where the engine asks.
    """

    ndim = 1

    @property
    def shape(self) -> tuple[int]:
        """(n,): there is no axis of classes."""
        return (len(self),)

    def detach(self) -> "PerSample":
        """Return the same outputs without a graph."""
        return PerSample({key: part.detach() if isinstance(part, Tensor) else part for key, part in one.items()} for one in self)

    def has_nan(self) -> bool:
        """Return whether a score is NaN."""
        return any(bool(one["scores"].isnan().any()) for one in self)


Output: TypeAlias = Float[Tensor, "n *output"] | PerSample
"""The scores of a batch."""


def described(output: Output) -> str:
    """Return what the scores are, for messages."""
    return str(tuple(output.shape)) if isinstance(output, Tensor) else "detections"


def samples_of(output: Output, chosen: slice) -> Tensor | PerSample:
    """Return the scores of some samples of the batch."""
    return output[chosen] if isinstance(output, Tensor) else PerSample(output[chosen])


def find_logits(output: Any, batch: int) -> Output:
    """Return the scores in a network's output: a tensor, `.logits`, `["logits"]`, or the first tensor with the batch in front.

    A detector's list of dicts, one per sample, stays a list.

    Raises:
        TargetError: if there is none.
    """
    if _is_detections(output, batch):  # first: a sample's boxes may be as many as the samples
        return PerSample(output)
    if batch == 1 and isinstance(output, Tensor) and output.ndim == 0:  # squeezed altogether; inside a tuple it would be a loss
        output = output.unsqueeze(0)
    return _find_tensor(output, batch)


def _is_detections(output: Any, batch: int) -> bool:
    return (
        isinstance(output, (list, tuple))
        and len(output) == batch
        and all(isinstance(one, Mapping) and all(isinstance(one.get(key), Tensor) for key in DETECTION_KEYS) for one in output)
    )


def _find_tensor(output: Any, batch: int) -> Float[Tensor, "n *output"]:
    if isinstance(output, Tensor) and output.is_floating_point():
        if output.shape[:1] == (batch,):
            return output.unsqueeze(1) if output.ndim == 1 else output
        if batch == 1 and output.ndim == 1:
            return output.unsqueeze(0)  # a network that squeezes away a batch of one, as LeNet-5 of mmpretrain
    if isinstance(getattr(output, "logits", None), Tensor):
        return _find_tensor(output.logits, batch)
    if isinstance(output, dict):
        parts: Iterable[Any] = [output["logits"]] if "logits" in output else output.values()
    else:
        parts = output if isinstance(output, (tuple, list)) else ()
    found_in_parts = []
    for part in parts:
        with suppress(TargetError):
            found_in_parts.append(_find_tensor(part, batch))
    if found_in_parts:
        # Features may stand beside the scores, which are (n, classes) but for dense outputs.
        flat = [scored for scored in found_in_parts if scored.ndim == 2]
        if len({scored.shape[1] for scored in flat}) > 1:
            widths = ", ".join(str(scored.shape[1]) for scored in flat)
            warn(f"The network returns scores of {widths} classes; the first are explained.")
        return (flat or found_in_parts)[0]
    found = f"{output.dtype} of shape {tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
    raise TargetError(f"No scores of {batch} samples in the network's output, {found}; expected floating-point numbers (n, classes).")
