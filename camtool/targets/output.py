"""Scores in a network's output: a tensor with the batch axis first, or one output per sample."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, TypeAlias

from jaxtyping import Float
from torch import Tensor

from camtool.errors import TargetError, warn

DETECTION_KEYS = ("boxes", "scores", "labels")
"""Keys of the dict that torchvision's detectors return for a sample."""


class PerSample(list[Any]):
    """Outputs of different shape by sample: a detector's dicts {boxes (k, 4), scores (k), labels (k), …}.

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
        return PerSample(
            {key: value.detach() if isinstance(value, Tensor) else value for key, value in detections.items()} for detections in self
        )

    def has_nan(self) -> bool:
        """Return whether a score is NaN."""
        return any(bool(detections["scores"].isnan().any()) for detections in self)


Output: TypeAlias = Float[Tensor, "n *output"] | PerSample
"""The scores of a batch."""


def described(output: Output) -> str:
    """Return the shape of the scores for error messages, "detections" for a detector's."""
    return str(tuple(output.shape)) if isinstance(output, Tensor) else "detections"


def samples_of(output: Output, chosen: slice) -> Tensor | PerSample:
    """Return the scores of some samples of the batch.

    Example:
        >>> import torch
        >>> from camtool.targets import samples_of
        >>> samples_of(torch.zeros(4, 10), slice(1, 3)).shape
        torch.Size([2, 10])
    """
    return output[chosen] if isinstance(output, Tensor) else PerSample(output[chosen])


def find_logits(output: Any, batch: int) -> Output:
    """Return the scores in a network's output: a tensor, `.logits`, `["logits"]`, or the first tensor with the batch in front.

    A detector's list of dicts, one per sample, becomes PerSample.

    Raises:
        TargetError: if there is none.

    Example:
        >>> import torch
        >>> from camtool.targets import find_logits
        >>> find_logits({"features": torch.zeros(2, 8, 7, 7), "logits": torch.zeros(2, 10)}, batch=2).shape
        torch.Size([2, 10])
    """
    if _is_detections(output, batch):  # checked first: there may be as many boxes as samples
        return PerSample(output)
    if batch == 1 and isinstance(output, Tensor) and output.ndim == 0:  # fully squeezed; inside a tuple a scalar would be a loss
        output = output.unsqueeze(0)
    return _find_tensor(output, batch)


def _is_detections(output: Any, batch: int) -> bool:
    return (
        isinstance(output, (list, tuple))
        and len(output) == batch
        and all(
            isinstance(detections, Mapping) and all(isinstance(detections.get(key), Tensor) for key in DETECTION_KEYS)
            for detections in output
        )
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
    candidates = []
    for part in parts:
        with suppress(TargetError):
            candidates.append(_find_tensor(part, batch))
    if candidates:
        # Features may stand beside the scores, which are (n, classes) but for dense outputs.
        flat = [candidate for candidate in candidates if candidate.ndim == 2]
        if len({candidate.shape[1] for candidate in flat}) > 1:
            widths = ", ".join(str(candidate.shape[1]) for candidate in flat)
            warn(f"The network returns scores of {widths} classes; the maps explain the first.")
        return (flat or candidates)[0]
    description = f"{output.dtype} of shape {tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
    raise TargetError(f"No scores of {batch} samples in the network's output, {description}; expected floating-point numbers (n, classes).")
