"""Score-CAM: Wang et al. 2020, arXiv:1910.01279."""

import torch
from jaxtyping import Float
from torch import Tensor

from camtool.functional import resize
from camtool.methods._base import ChannelMethod, Copies, Evidence
from camtool.registry import METHODS
from camtool.types import Maps


@METHODS.register_module()
class ScoreCAM(ChannelMethod):
    """Weights each channel by the softmax over channels of the score of the input seen through that channel (eqs. 6 and 7).

    A channel that is the same everywhere hides nothing and shows nothing: its weight is 0.

    Args:
        align_corners: of the resize to the input's size; True is what pytorch-grad-cam does.
    """

    name = "scorecam"
    paper = "arXiv:1910.01279"
    cost = "C forwards"
    asks_alike = True

    def __init__(self, *, align_corners: bool = False) -> None:
        self.align_corners = bool(align_corners)

    def contributions(self, evidence: Evidence) -> Maps:
        activations, inquiry = evidence.activations, evidence.ask(self.name)
        scores = inquiry.scores_of_inputs(activations.shape[1], masked(inquiry.inputs, activations, align_corners=self.align_corners))
        weights = softmax_of_living(scores, activations)
        return weights.reshape(*weights.shape, *[1] * (activations.ndim - 2)) * activations


def softmax_of_living(scores: Float[Tensor, "n c"], activations: Maps) -> Float[Tensor, "n c"]:
    """Return the softmax over channels that vary; 0 for the others (and for all, where none does)."""
    flat = activations.flatten(2)
    dead = flat.amax(dim=2) == flat.amin(dim=2)
    return scores.masked_fill(dead, -torch.inf).softmax(dim=1).nan_to_num(nan=0.0)


def masked(inputs: Tensor, masks: Maps, *, align_corners: bool = False) -> Copies:
    """Return copies of the inputs, the k-th times the k-th channel, resized to the input and scaled to [0, 1] (eqs. 4 and 5)."""

    def copies(start: int, stop: int) -> Float[Tensor, "n copies channels *size"]:
        seen = masks[:, start:stop]
        large = resize(seen.flatten(0, 1), inputs.shape[2:], align_corners=align_corners)  # (n copies, *size)
        axes = tuple(range(1, large.ndim))
        lowest, highest = large.amin(dim=axes, keepdim=True), large.amax(dim=axes, keepdim=True)
        scaled = (large - lowest) / (highest - lowest).clamp(min=torch.finfo(large.dtype).tiny)
        return inputs.unsqueeze(1) * scaled.unflatten(0, seen.shape[:2]).unsqueeze(2)

    return copies
