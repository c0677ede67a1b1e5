"""The score of a detected box."""

import operator
from collections.abc import Mapping
from typing import Any, SupportsIndex

import torch
from jaxtyping import Float
from torch import Tensor

from camtool.errors import TargetError
from camtool.registry import TARGETS
from camtool.targets.output import DETECTION_KEYS, Output, PerSample, described


@TARGETS.register_module()
class BoxScore:
    """The sum of the scores of a detector's boxes with the given label that overlap the reference box.

    For detectors that return a dict {boxes (k, 2 d), scores (k), labels (k)} for each sample of d axes, as torchvision's of pictures.
    The boxes that count are chosen anew for every output, by their position; only the scores have a gradient. Differs from
    pytorch-grad-cam's target, which adds the overlap to the score, so that its maps mix the object's class with its exact position.

    Args:
        box: its lower corner and then its upper one, in the detector's pixels or voxels, as it returned it: (x1, y1, x2, y2) of a picture,
            (x1, y1, z1, x2, y2, z2) of a volume, (t1, t2) of a signal; a tensor, an array or a list.
        label: the class, as in `labels`.
        overlap: least intersection over union with the reference box, in (0, 1].

    Raises:
        TargetError: if the box is empty or the overlap out of range; when used, if the detector's boxes have other axes, or none matches:
            the message has the nearest.

    Example:
        >>> import torch
        >>> from camtool.targets import BoxScore
        >>> target = BoxScore([0, 0, 10, 10], label=1)
        >>> boxes = torch.tensor([[0.0, 0.0, 10.0, 8.0], [20.0, 20.0, 30.0, 30.0]])
        >>> detections = {"boxes": boxes, "scores": torch.tensor([0.75, 0.5]), "labels": torch.tensor([1, 1])}
        >>> target.matches(detections), target(detections)
        (tensor([ True, False]), tensor(0.7500))
    """

    name = "box"

    def __init__(self, box: Any, label: SupportsIndex, *, overlap: float = 0.5) -> None:
        self.box: Float[Tensor, " corners"] = torch.as_tensor(box, dtype=torch.float32, device="cpu").detach()
        self.label = operator.index(label)
        self.overlap = overlap
        even = self.box.ndim == 1 and len(self.box) > 0 and len(self.box) % 2 == 0
        if not even or not (_sides(self.box) > 0).all():
            raise TargetError(
                "Expected a box, its lower and then its upper corner, (x1, y1, x2, y2) with x1 < x2 and y1 < y2; of a volume "
                f"(x1, y1, z1, x2, y2, z2). Got {self.box.tolist()}."
            )
        if not 0 < overlap <= 1:
            raise TargetError(f"Expected an overlap in (0, 1], got {overlap}.")

    def __call__(self, detections: Mapping[str, Any]) -> Float[Tensor, ""]:
        """Return the summed score of one sample's matching boxes; TargetError if none matches."""
        labels = detections["labels"]
        overlaps = self._overlaps(detections["boxes"].detach())
        matching = self.matches(detections)
        if not matching.any() and torch.is_grad_enabled():  # of altered copies, where the object is gone, the score is 0
            raise TargetError(
                f"{self!r}: {self._nearest(overlaps, labels)}; expected one that overlaps by {self.overlap} or more. Try a smaller overlap."
            )
        return detections["scores"][matching].sum()

    def fitted(self, output: Output, sample: int) -> "BoxScore":
        """Return the target; TargetError if the output is not a detector's, or no box matches."""
        if not isinstance(output, PerSample) or not output.are_detections():
            keys = ", ".join(DETECTION_KEYS)
            raise TargetError(f"A box's score needs a detector, which gives a dict of {keys} for each sample; got {described(output)}.")
        numbers = output[sample]["boxes"].shape[-1]
        if numbers != len(self.box):
            raise TargetError(
                f"{self!r}: the detector's boxes have {numbers} numbers, this one {len(self.box)}; expected one of the same axes."
            )
        if not self.matches(output[sample]).any():
            with torch.enable_grad():
                self(output[sample])  # raises, with the nearest box
        return self

    def matches(self, detections: Mapping[str, Any]) -> Tensor:
        """Return which of one sample's boxes match, a boolean (k)."""
        return (self._overlaps(detections["boxes"].detach()) >= self.overlap) & (detections["labels"] == self.label)

    def _overlaps(self, boxes: Float[Tensor, "k corners"]) -> Float[Tensor, " k"]:
        reference = self.box.to(boxes)
        (lower, upper), (least, most) = boxes.tensor_split(2, dim=-1), reference.tensor_split(2)
        shared = (torch.minimum(upper, most) - torch.maximum(lower, least)).clamp(min=0).prod(dim=-1)
        return shared / (_sides(boxes).prod(dim=-1) + _sides(reference).prod() - shared)

    def _nearest(self, overlaps: Float[Tensor, " k"], labels: Tensor) -> str:
        if len(overlaps) == 0:
            return "the detector finds no box at all"
        best = int(overlaps.argmax())
        return f"of {len(overlaps)} detected boxes the nearest has label {int(labels[best])} and overlaps by {overlaps[best]:.2f}"

    def flipped(self, width: int) -> "BoxScore":
        """Return the target of the input mirrored along its last axis, `width` wide; of it is a box's first number, as in torchvision."""
        lower, upper = (corner.clone() for corner in self.box.tensor_split(2))
        lower[0], upper[0] = width - self.box[len(lower)], width - self.box[0]
        return BoxScore(torch.cat([lower, upper]), self.label, overlap=self.overlap)

    def __repr__(self) -> str:
        return f"BoxScore({[round(side, 1) for side in self.box.tolist()]}, {self.label})"


def _sides(boxes: Float[Tensor, "*k corners"]) -> Float[Tensor, "*k axes"]:
    """Return the lengths of the boxes' edges."""
    lower, upper = boxes.tensor_split(2, dim=-1)
    return upper - lower
