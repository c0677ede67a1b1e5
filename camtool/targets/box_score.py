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

    For detectors that return a dict {boxes (k, 4), scores (k), labels (k)} for each sample, as torchvision's. The boxes that count are
    chosen anew for every output, by their position; only the scores have a gradient. Differs from pytorch-grad-cam's target, which
    adds the overlap to the score, so that its maps mix the object's class with its exact position.

    Args:
        box: (x1, y1, x2, y2) in the detector's pixels, as it returned it; a tensor, an array or a list.
        label: the class, as in `labels`.
        overlap: least intersection over union with the reference box, in (0, 1].

    Raises:
        TargetError: if the box is empty or the overlap out of range; when used, if no detected box matches: the message has the nearest.

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
        self.box: Float[Tensor, 4] = torch.as_tensor(box, dtype=torch.float32, device="cpu").detach()
        self.label = operator.index(label)
        self.overlap = overlap
        if self.box.shape != (4,) or not (self.box[2:] > self.box[:2]).all():
            raise TargetError(f"Expected a box (x1, y1, x2, y2) with x1 < x2 and y1 < y2, got {self.box.tolist()}.")
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
        if not self.matches(output[sample]).any():
            with torch.enable_grad():
                self(output[sample])  # raises, with the nearest box
        return self

    def matches(self, detections: Mapping[str, Any]) -> Tensor:
        """Return which of one sample's boxes match, a boolean (k)."""
        return (self._overlaps(detections["boxes"].detach()) >= self.overlap) & (detections["labels"] == self.label)

    def _overlaps(self, boxes: Float[Tensor, "k 4"]) -> Float[Tensor, " k"]:
        reference = self.box.to(boxes)
        corners = torch.minimum(boxes[:, 2:], reference[2:]) - torch.maximum(boxes[:, :2], reference[:2])
        shared = corners.clamp(min=0).prod(dim=1)
        return shared / ((boxes[:, 2:] - boxes[:, :2]).prod(dim=1) + (reference[2:] - reference[:2]).prod() - shared)

    def _nearest(self, overlaps: Float[Tensor, " k"], labels: Tensor) -> str:
        if len(overlaps) == 0:
            return "the detector finds no box at all"
        best = int(overlaps.argmax())
        return f"of {len(overlaps)} detected boxes the nearest has label {int(labels[best])} and overlaps by {overlaps[best]:.2f}"

    def flipped(self, width: int) -> "BoxScore":
        """Return the target of the picture mirrored along its last axis, `width` pixels wide."""
        left, top, right, bottom = self.box.tolist()
        return BoxScore([width - right, top, width - left, bottom], self.label, overlap=self.overlap)

    def __repr__(self) -> str:
        return f"BoxScore({[round(side, 1) for side in self.box.tolist()]}, {self.label})"
