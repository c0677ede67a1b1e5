"""Channels as masks of the input: masked copies of the picture, their scores, and channel weights from these."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from camtool.functional import resize
from camtool.methods._base import Copies, Evidence
from camtool.placement import Placement, placed
from camtool.types import Maps


def as_masks(
    channels: Maps, size: Sequence[int], placement: Placement | None = None, *, align_corners: bool = False
) -> Float[Tensor, "n c *size"]:
    """Return each channel placed on the input and scaled to [0, 1]; zeros for constant channels.

    Args:
        placement: where the channels' cells lie; None: evenly.
        align_corners: align the centres of the corner cells with the corner pixels instead, wherever the cells lie.
    """
    maps = channels.flatten(0, 1)
    large = resize(maps, size, align_corners=True) if align_corners else placed(maps, size, placement)  # (n c, *size)
    axes = tuple(range(1, large.ndim))
    lowest, highest = large.amin(dim=axes, keepdim=True), large.amax(dim=axes, keepdim=True)
    scaled = (large - lowest) / (highest - lowest).clamp(min=torch.finfo(large.dtype).tiny)
    return scaled.unflatten(0, channels.shape[:2])


def seen_through(inputs: Tensor, channels: Maps, placement: Placement | None = None, *, align_corners: bool = False) -> Copies:
    """Return copies of the inputs, the k-th multiplied by the mask of the k-th channel; arguments as of `as_masks`."""

    def copies(start: int, stop: int) -> Float[Tensor, "n copies channels *size"]:
        masks = as_masks(channels[:, start:stop], inputs.shape[2:], placement, align_corners=align_corners)
        return inputs.unsqueeze(1) * masks.unsqueeze(2)

    return copies


def scores_through(
    evidence: Evidence, method: str, variants: int, vary: Callable[[Tensor, Int[Tensor, " copies"]], Tensor]
) -> Float[Tensor, "n c variants"]:
    """Return for each channel of the evidence's activations the scores of the inputs multiplied by variants of its mask.

    Args:
        method: name of the method that queries.
        vary: from masks (n, copies, *size) and the variant's number of each copy, counted from 0, to the altered masks.
    """
    queries, channels, inputs = evidence.queries(method), evidence.activations, evidence.queries(method).inputs

    def copies(start: int, stop: int) -> Float[Tensor, "n copies channels *size"]:
        numbers = torch.arange(start, stop, device=inputs.device)
        of_channel = numbers // variants
        first, last = start // variants, (stop - 1) // variants
        masks = as_masks(channels[:, first : last + 1], inputs.shape[2:], evidence.placement)[:, of_channel - first]
        return inputs.unsqueeze(1) * vary(masks, numbers % variants).unsqueeze(2)

    scores = queries.scores_of_inputs(channels.shape[1] * variants, copies)
    return scores.unflatten(1, (channels.shape[1], variants))


def same_everywhere(channels: Maps) -> Bool[Tensor, "n c"]:
    """Return which channels are constant: as masks they neither hide nor show anything."""
    flat = channels.flatten(2)
    return flat.amax(dim=2) == flat.amin(dim=2)


def softmax_of_living(scores: Float[Tensor, "n c"], activations: Maps) -> Float[Tensor, "n c"]:
    """Return the softmax over the channels that are not constant; 0 for constant channels."""
    return scores.masked_fill(same_everywhere(activations), -torch.inf).softmax(dim=1).nan_to_num(nan=0.0)


def weighted(weights: Float[Tensor, "n c"], activations: Maps) -> Maps:
    """Return the activations multiplied by one weight per channel."""
    return weights.reshape(*weights.shape, *[1] * (activations.ndim - 2)) * activations
