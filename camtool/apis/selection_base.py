"""TargetSelection: base class of what selects the targets of samples, and explains them."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor

from camtool.apis.selection_result import SelectionResult
from camtool.apis.subjects import Subject
from camtool.attribution.cam import CAM
from camtool.attribution.sliding_window import SlidingWindow
from camtool.models import Network

Labels = Sequence[int | None]


class TargetSelection(ABC):
    """Selects the targets of images, and explains them."""

    name: str
    """Name of the target: "logit", "probability", …, "similarity"."""

    @abstractmethod
    def explain(self, cam: CAM | SlidingWindow, network: Network, inputs: Tensor, labels: Labels = ()) -> list[SelectionResult]:
        """Return the result for each image of `inputs` (n, c, h, w).

        Args:
            labels: true class of each image, None where it is not known; (): they are not known.
        """

    def fitted(self, subjects: Sequence[Subject], network: Network) -> "TargetSelection":
        """Return the selection for these images, volumes or signals, where it depends on them."""
        return self

    @property
    def suffix(self) -> str:
        """The target as a part of file names; empty for the default, the logit."""
        return "" if self.name == "logit" else f"_{self.name}"
