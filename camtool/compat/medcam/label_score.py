"""What M3d-Cam's label means: which of the network's outputs a map explains."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from camtool.errors import TargetError, closest
from camtool.targets import Output
from camtool.targets._base import class_index

Label: TypeAlias = int | str | Sequence[int] | Callable[[Tensor], Any] | None
BEST = "best"


class LabelScore:
    """The sum of the outputs that a label chooses.

    Args:
        label: a class or several, of a dense output at all of its positions; "best": the class with the highest score, or sum of scores;
            a function from the network's output to a mask of it, such as `lambda scores: scores > 0.5`; None: the best class of scores
            (n, classes), all of a dense output.

    Raises:
        TargetError: when used, if the output has no such class, is no tensor (n, classes, *spatial), or the function gives no mask of it.

    Example:
        >>> import torch
        >>> from camtool.compat.medcam.label_score import LabelScore
        >>> scores = torch.tensor([[1.0, 4.0, 2.0]])
        >>> LabelScore("best").fitted(scores, 0)(scores[0]), LabelScore(lambda scores: scores > 1).fitted(scores, 0)(scores[0])
        (tensor(4.), tensor(6.))
    """

    def __init__(self, label: Label) -> None:
        if isinstance(label, str) and label != BEST:
            raise TargetError(f"No label '{label}'{closest(label, [BEST])}; expected '{BEST}', a class, a function of the output, or None.")
        self._label = label
        self._mask = torch.empty(0)

    def fitted(self, output: Output, sample: int) -> "LabelScore":
        """Return the target with its choice made for one sample of a batch's output (n, classes, *spatial)."""
        if not isinstance(output, Tensor) or output.ndim < 2:
            raise TargetError("A label needs an output (n, classes, *spatial), a tensor; give a network with such an output.")
        chosen = LabelScore(self._label)
        chosen._mask = self._chosen(output.detach(), sample).to(output)
        return chosen

    def __call__(self, scores: Tensor) -> Tensor:
        """Return the sum of one sample's chosen scores (classes, *spatial)."""
        return (scores * self._mask.to(scores)).sum()

    def _chosen(self, output: Tensor, sample: int) -> Tensor:
        scores = output[sample]
        if callable(self._label):
            mask = torch.as_tensor(self._label(output))
            if mask.shape != output.shape:
                raise TargetError(f"Expected a mask of the output, {tuple(output.shape)}, from the label, got shape {tuple(mask.shape)}.")
            return mask[sample]
        if self._label is None and scores.ndim > 1:
            return torch.ones_like(scores)
        mask = torch.zeros_like(scores)
        if self._label is None or isinstance(self._label, str):
            mask[scores.reshape(len(scores), -1).sum(dim=1).argmax()] = 1
            return mask
        several: Sequence[Any] = self._label if isinstance(self._label, Sequence) else [self._label]
        for one in several:
            index = class_index(one)
            if not 0 <= index < len(scores):
                raise TargetError(f"Label {index} is out of range: the network has {len(scores)} classes, 0 to {len(scores) - 1}.")
            mask[index] = 1
        return mask
