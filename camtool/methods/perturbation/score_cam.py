"""Score-CAM: Wang et al. 2020, arXiv:1910.01279."""

from collections.abc import Sequence

from camtool.methods._base import BaseMethod, Evidence, Needs
from camtool.methods.perturbation._masks import seen_through, softmax_of_living, weighted
from camtool.registry import METHODS
from camtool.types import Maps


@METHODS.register_module()
class ScoreCAM(BaseMethod):
    """Weights each channel by the softmax over channels of the score of the input masked by the channel (eqs. 4 to 7).

    A constant channel masks nothing: its weight is 0.

    Args:
        align_corners: whether the resize to the input's size aligns the corners' centres, as in pytorch-grad-cam.

    Example:
        >>> from camtool.methods import build_method
        >>> method = build_method({"type": "scorecam", "align_corners": True})
        >>> method.align_corners
        True
    """

    name = "scorecam"
    paper = "arXiv:1910.01279"
    cost = "C forwards"
    needs = Needs(same_queries_for_all_targets=True)

    def __init__(self, *, align_corners: bool = False) -> None:
        self.align_corners = bool(align_corners)

    def further_passes(self, channels: int, cells: int, size: Sequence[int]) -> int:
        return channels

    def contributions(self, evidence: Evidence) -> Maps:
        activations, queries = evidence.activations, evidence.queries(self.name)
        copies = seen_through(queries.inputs, activations, evidence.placement, align_corners=self.align_corners)
        scores = queries.scores_of_inputs(activations.shape[1], copies)
        return weighted(softmax_of_living(scores, activations), activations)
