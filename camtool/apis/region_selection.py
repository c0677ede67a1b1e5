"""RegionSelection: classes of a segmentation, each where the network itself sees it."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from torch import Tensor

from camtool.apis.selection_base import Labels, TargetSelection
from camtool.apis.selection_result import ExplainedTarget, SelectionResult, sample_of
from camtool.attribution.cam import CAM
from camtool.attribution.sliding_window import SlidingWindow
from camtool.errors import TargetError
from camtool.models import Network
from camtool.models.class_labels import find_class, label
from camtool.targets import FromLogits, Region, Target


class RegionSelection(TargetSelection):
    """The region of each named class, where its score is the highest of the network's dense output (n, classes, *spatial).

    Args:
        categories: classes by index or name.

    Raises:
        TargetError: if none is named.
    """

    name = "region"

    def __init__(self, categories: Sequence[str | int]) -> None:
        if not categories:
            raise TargetError(
                "The target 'region' explains a class where the network sees it, or in a mask; expected categories (--target-category)."
            )
        self._categories = [str(category) for category in categories]

    def explain(self, cam: CAM | SlidingWindow, network: Network, inputs: Tensor, labels: Labels = ()) -> list[SelectionResult]:
        """Return the results; regions are those of the same forward pass."""
        chosen: list[list[Region]] = []
        names_of = cache(network.class_names)

        def choose(scores: Any) -> list[list[Target]]:
            if not isinstance(scores, Tensor) or scores.ndim < 3:
                shape = f"scores of shape {tuple(scores.shape)}" if isinstance(scores, Tensor) else "detections"
                raise TargetError(f"The network gives {shape}; expected scores (n, classes, *spatial) for the target 'region'.")
            names, classes = names_of(scores.shape[1])[0], scores.shape[1]
            indices = dict.fromkeys(find_class(category, names, classes) for category in self._categories)
            chosen[:] = [[Region.predicted(of_sample, index) for index in indices] for of_sample in scores]
            return [list(row) for row in chosen]

        results = cam(network.inputs(inputs, cam.input_axes), FromLogits(choose))
        selected = []
        for sample, regions in enumerate(chosen):
            of_sample = {method: sample_of(result, sample) for method, result in results.items()}
            logits = next(iter(of_sample.values())).logits
            assert isinstance(logits, Tensor)
            names, remark = names_of(logits.shape[1])
            explained = [_explained(region, names, logits[0]) for region in regions]
            selected.append(SelectionResult(of_sample, explained, logits, names=names, remark=remark))
        return selected


def region_words(region: Region, names: Sequence[str] | None, place: str) -> str:
    """Return a region's class, by name and index, where it is explained, and what share of the positions that is.

    Example:
        >>> from camtool.apis.region_selection import region_words
        >>> from camtool.targets import Region
        >>> region_words(Region([[1, 0], [0, 0]], 1), ["air", "bone"], "mask.png")
        'bone (1) in mask.png, 25.0%'
    """
    return f"{label(region.index, names)} in {place}, {region.mask.float().mean().item():.1%}"


def _explained(region: Region, names: list[str] | None, scores: Tensor) -> ExplainedTarget:
    return ExplainedTarget(region.index, region_words(region, names, "its region"), f"region_{region.index}", float(region(scores)))
