"""Occlusion sensitivity: Zeiler & Fergus 2014, "Visualizing and Understanding Convolutional Networks", arXiv:1311.2901."""

import functools
import itertools
import math
import operator
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from camtool.errors import MethodError, closest
from camtool.methods._base import INPUT, Needs
from camtool.methods.input._base import InputEvidence, InputMethod
from camtool.registry import METHODS
from camtool.types import RawMap

PARTS = 8
"""The patch is an eighth of the input along every axis by default."""
GAUSSIAN, MEAN_PATCH, MEAN_IMAGE = FILLS = ("gaussian", "mean_patch", "mean_image")
SHADE, BLEND = 0.25, 0.125
"""Standard deviations as shares of the patch: of the Gaussian that is taken away, and of that by which patches are averaged; MONAI's."""
LEAST = 1e-3
"""Smallest weight of a position in a patch, MONAI's."""


@METHODS.register_module(name=["Occlusion", "OcclusionSensitivity"])
class Occlusion(InputMethod):
    """Returns at each position the fall of the score when a patch over it is blanked, averaged over the patches that cover it (sec. 4.2).

    The patch slides over the input by `stride`; at the far borders what is left of it is blanked. All channels are blanked at once, and
    one run of the network serves all targets. Needs no gradient, and no target layer. Differs from the paper, which draws the
    score at the patch's place: the mean over patches is captum's, and has the input's size.

    Args:
        patch: size of the patch in pixels, one for all axes or one for each; None: an eighth of each axis, at least 1.
        stride: distance between patches, likewise, at most the patch; None: half a patch.
        baseline: value of a blanked pixel, after preprocessing; 0 is the mean colour if inputs are normalised. Or one of MONAI's modes:
            "gaussian" takes a Gaussian away from the patch, all of its middle and nothing of its corners, so that no edge is made,
            and averages patches by a narrower Gaussian; "mean_patch" and "mean_image" are the means of each channel over the patch or
            the input (MONAI 1.4 has one mean of all channels, and multiplies a patch by its mean instead of filling it).

    Raises:
        MethodError: if a patch is larger than the input or below 1, a stride is larger than the patch or below 1, or there is not one
            for each axis, or the baseline is another word.

    Example:
        >>> from camtool.methods import build_method
        >>> method = build_method({"type": "occlusion", "patch": 32, "stride": 16})
        >>> method.patch, method.boxes((64, 96))[:2]  # rows 0 to 32 with columns 0 to 32, then columns 16 to 48
        ((32,), [(slice(0, 32, None), slice(0, 32, None)), (slice(0, 32, None), slice(16, 48, None))])
    """

    name = "occlusion"
    paper = "arXiv:1311.2901"
    cost = "225 forwards of a picture: 15 patches along each axis"
    reads = INPUT
    needs = Needs(same_queries_for_all_targets=True)

    def __init__(
        self, *, patch: int | Sequence[int] | None = None, stride: int | Sequence[int] | None = None, baseline: float | str = 0.0
    ) -> None:
        self.patch = _by_axis(patch)
        self.stride = _by_axis(stride)
        if isinstance(baseline, str) and baseline not in FILLS:
            raise MethodError(
                f"Method '{self.name}': expected as baseline a number or one of {', '.join(FILLS)}, got '{baseline}'"
                f"{closest(baseline, FILLS)}."
            )
        self.baseline = baseline if isinstance(baseline, str) else float(baseline)

    def boxes(self, size: Sequence[int]) -> list[tuple[slice, ...]]:
        """Return the patches of an input of this spatial size; MethodError if they do not fit."""
        patch = self._patch(size)
        stride = self._of_axes("stride", self.stride, size) or tuple(max(length // 2, 1) for length in patch)
        for name, values, most in (("patch", patch, size), ("stride", stride, patch)):
            if any(not 1 <= value <= limit for value, limit in zip(values, most, strict=True)):
                raise MethodError(
                    f"Method '{self.name}': expected a {name} from 1 to {tuple(most)} for an input of {tuple(size)}, got {tuple(values)}."
                )
        starts = [
            range(0, step * math.ceil((length - box) / step) + 1, step) for length, box, step in zip(size, patch, stride, strict=True)
        ]
        return [
            tuple(slice(start, min(start + box, length)) for start, box, length in zip(corner, patch, size, strict=True))
            for corner in itertools.product(*starts)
        ]

    def further_passes(self, channels: int, cells: int, size: Sequence[int]) -> int:
        return len(self.boxes(size))

    def raw_map(self, evidence: InputEvidence) -> RawMap:
        queries = evidence.queries(self.name)
        inputs = queries.inputs
        size = inputs.shape[2:]
        boxes, fill = self.boxes(size), self._fill(inputs)

        def copies(start: int, stop: int) -> Float[Tensor, "n copies channels *size"]:
            altered = inputs.unsqueeze(1).repeat(1, stop - start, *[1] * (inputs.ndim - 1))
            for place, box in enumerate(boxes[start:stop]):
                where: tuple[slice | int, ...] = (slice(None), place, slice(None), *box)
                altered[where] = fill(altered[where])
            return altered

        falls = queries.scores.unsqueeze(1) - queries.scores_of_inputs(len(boxes), copies)
        total = evidence.inputs.new_zeros(len(inputs), *size)
        covering = evidence.inputs.new_zeros(size)
        weights = (blending(self._patch(size)) if self.baseline == GAUSSIAN else torch.ones(self._patch(size), device="cpu")).to(total)
        for box, fall in zip(boxes, falls.to(total.dtype).unbind(dim=1), strict=True):
            weight = _cut(weights, box)
            total[(slice(None), *box)] += fall.view(-1, *[1] * len(size)) * weight
            covering[box] += weight
        return total / covering

    def _fill(self, inputs: Tensor) -> Callable[[Tensor], Tensor | float]:
        """Return the function from a patch (n, c, *patch) to what is put in its place."""
        axes = tuple(range(2, inputs.ndim))
        if self.baseline == GAUSSIAN:
            kept = (1 - shade(self._patch(inputs.shape[2:]))).to(inputs)
            return lambda patch: patch * kept[tuple(map(slice, patch.shape[2:]))]
        if self.baseline == MEAN_PATCH:
            return lambda patch: patch.mean(dim=axes, keepdim=True)
        if self.baseline == MEAN_IMAGE:
            average = inputs.mean(dim=axes, keepdim=True)
            return lambda _: average
        value = float(self.baseline)
        return lambda _: value

    def _patch(self, size: Sequence[int]) -> tuple[int, ...]:
        return self._of_axes("patch", self.patch, size) or tuple(max(length // PARTS, 1) for length in size)

    def _of_axes(self, name: str, values: tuple[int, ...], size: Sequence[int]) -> tuple[int, ...]:
        if len(values) not in (0, 1, len(size)):
            raise MethodError(
                f"Method '{self.name}': expected a {name} of one number, or of {len(size)} for an input of {tuple(size)}; got {values}."
            )
        return values * len(size) if len(values) == 1 else values


def _by_axis(sizes: int | Sequence[int] | None) -> tuple[int, ...]:
    if sizes is None:
        return ()
    return tuple(map(operator.index, sizes)) if isinstance(sizes, Sequence) else (operator.index(sizes),)


def shade(patch: Sequence[int]) -> Float[Tensor, "*patch"]:
    """Return the share of each position that Gaussian occlusion takes away: 1 in the middle, 0 in the corners, float64.

    As MONAI's, each position has the integral of the Gaussian over it; in patches of an even size, where MONAI's middle is
    half a pixel off, it is symmetrical.
    """
    along = []
    for length in patch:
        offsets = torch.arange(length, dtype=torch.float64, device="cpu") - (length - 1) / 2
        edges = [((offsets + side) / (SHADE * length * math.sqrt(2))).erf() for side in (0.5, -0.5)]
        along.append(edges[0] - edges[1])
    product = _outer(along)
    low, high = product.amin(), product.amax()
    return (product - low) / (high - low) if high > low else torch.ones_like(product)


def blending(patch: Sequence[int]) -> Float[Tensor, "*patch"]:
    """Return the weight of each position of a patch where Gaussian patches are averaged: 1 at its middle, at least LEAST, float64."""
    offsets = [torch.arange(length, dtype=torch.float64, device="cpu") - (length - 1) / 2 for length in patch]
    along = [(-((offset / (BLEND * length)) ** 2) / 2).exp() for offset, length in zip(offsets, patch, strict=True)]
    return _outer(along).clamp(min=LEAST)


def _outer(along: Sequence[Tensor]) -> Tensor:
    return functools.reduce(lambda product, axis: product.unsqueeze(-1) * axis, along)


def _cut(weights: Tensor, box: Sequence[slice]) -> Tensor:
    """Return the part of a patch's weights that lies on the input."""
    return weights[tuple(slice(side.stop - side.start) for side in box)]
