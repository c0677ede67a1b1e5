"""Targets by the names of pytorch-grad-cam, which medcam3d has too."""

from collections.abc import Iterable
from typing import Any, SupportsIndex

from torch import Tensor

from camtool.errors import TargetError
from camtool.targets import BinaryScore, BoxScore, ClassProbability, ClassScore, RawOutput, Region

__all__ = [
    "BinaryClassifierOutputTarget",
    "ClassifierOutputSoftmaxTarget",
    "ClassifierOutputTarget",
    "FasterRCNNBoxScoreTarget",
    "RawScoresOutputTarget",
    "SemanticSegmentationTarget",
]


class ClassifierOutputTarget(ClassScore):
    """The score of a class before softmax.

    Example:
        >>> import torch
        >>> from camtool.compat.medcam3d.utils.model_targets import ClassifierOutputTarget
        >>> ClassifierOutputTarget(1)(torch.tensor([0.5, 2.0]))
        tensor(2.)
    """

    def __init__(self, category: SupportsIndex) -> None:
        super().__init__(category)


class ClassifierOutputSoftmaxTarget(ClassProbability):
    """The probability of a class."""

    def __init__(self, category: SupportsIndex) -> None:
        super().__init__(category)


class BinaryClassifierOutputTarget(BinaryScore):
    """The score of a network with one output, (n, 1): of class 1, or its negative, of class 0."""

    def __init__(self, category: SupportsIndex) -> None:
        super().__init__(category)


class RawScoresOutputTarget(RawOutput):
    """The only output of a regression network, (n, 1)."""

    def __init__(self) -> None:
        super().__init__()


class SemanticSegmentationTarget(Region):
    """The sum of a class's scores over a mask (*spatial): of whole numbers where it is not 0, of others weighted by it over its largest.

    Example:
        >>> import torch
        >>> from camtool.compat.medcam3d.utils.model_targets import SemanticSegmentationTarget
        >>> SemanticSegmentationTarget(1, torch.eye(2))(torch.ones(2, 2, 2))
        tensor(2.)
    """

    def __init__(self, category: SupportsIndex, mask: Any) -> None:
        super().__init__(mask, category)


class FasterRCNNBoxScoreTarget:
    """The sum of the scores of a detector's boxes that overlap one of the given boxes and have its label.

    Differs from pytorch-grad-cam's, which adds the overlaps to the scores, and gives 0 without a word where no box matches.

    Args:
        labels: of each box.
        bounding_boxes: (x1, y1, x2, y2) each.
        iou_threshold: least intersection over union.

    Raises:
        TargetError: if there is no box, or one of them is empty; when used, if none matches.
    """

    def __init__(self, labels: Iterable[Any], bounding_boxes: Iterable[Any], iou_threshold: float = 0.5) -> None:
        boxes = zip(bounding_boxes, labels, strict=True)
        self.scores = [BoxScore(box, int(label), overlap=iou_threshold) for box, label in boxes]
        if not self.scores:
            raise TargetError("Expected at least one box, got none.")

    def __call__(self, detections: Any) -> Tensor:
        """Return the sum of one sample's matching boxes' scores; TargetError if one of the boxes has no match."""
        total = self.scores[0](detections)
        for score in self.scores[1:]:
            total = total + score(detections)
        return total

    def flipped(self, width: int) -> "FasterRCNNBoxScoreTarget":
        """Return the target of the picture mirrored along its last axis, `width` pixels wide."""
        mirrored = FasterRCNNBoxScoreTarget.__new__(FasterRCNNBoxScoreTarget)
        mirrored.scores = [score.flipped(width) for score in self.scores]
        return mirrored
