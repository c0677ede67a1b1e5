"""Occlusion sensitivity: Zeiler & Fergus 2014, "Visualizing and Understanding Convolutional Networks", arXiv:1311.2901."""

import itertools
import math
import operator
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from camtool.errors import MethodError
from camtool.methods._base import INPUT, Needs
from camtool.methods.input._base import InputEvidence, InputMethod
from camtool.registry import METHODS
from camtool.types import RawMap

PARTS = 8
"""The patch is an eighth of the input along every axis by default."""


@METHODS.register_module(name=["Occlusion", "OcclusionSensitivity"])
class Occlusion(InputMethod):
    """Returns at each position the fall of the score when a patch over it is blanked, averaged over the patches that cover it (sec. 4.2).

    The patch slides over the input by `stride`; at the far borders what is left of it is blanked. All channels are blanked at once, and
    one run of the network serves all targets. Needs no gradient, and no target layer. Differs from the paper, which draws the
    score at the patch's place: the mean over patches is captum's, and has the input's size.

    Args:
        patch: size of the patch in pixels, one for all axes or one for each; None: an eighth of each axis, at least 1.
        stride: distance between patches, likewise, at most the patch; None: half a patch.
        baseline: value of a blanked pixel, after preprocessing; 0 is the mean colour if inputs are normalised.

    Raises:
        MethodError: if a patch is larger than the input or below 1, a stride is larger than the patch or below 1, or there is not one
            for each axis.

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
        self, *, patch: int | Sequence[int] | None = None, stride: int | Sequence[int] | None = None, baseline: float = 0.0
    ) -> None:
        self.patch = _by_axis(patch)
        self.stride = _by_axis(stride)
        self.baseline = float(baseline)

    def boxes(self, size: Sequence[int]) -> list[tuple[slice, ...]]:
        """Return the patches of an input of this spatial size; MethodError if they do not fit."""
        patch = self._of_axes("patch", self.patch, size) or tuple(max(length // PARTS, 1) for length in size)
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
        boxes = self.boxes(inputs.shape[2:])

        def copies(start: int, stop: int) -> Float[Tensor, "n copies channels *size"]:
            altered = inputs.unsqueeze(1).repeat(1, stop - start, *[1] * (inputs.ndim - 1))
            for place, box in enumerate(boxes[start:stop]):
                where: tuple[slice | int, ...] = (slice(None), place, slice(None), *box)
                altered[where] = self.baseline
            return altered

        falls = queries.scores.unsqueeze(1) - queries.scores_of_inputs(len(boxes), copies)
        total = evidence.inputs.new_zeros(len(inputs), *inputs.shape[2:])
        covering = evidence.inputs.new_zeros(inputs.shape[2:])
        for box, fall in zip(boxes, falls.to(total.dtype).unbind(dim=1), strict=True):
            total[(slice(None), *box)] += fall.view(-1, *[1] * (inputs.ndim - 2))
            covering[box] += 1
        return total / covering

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
