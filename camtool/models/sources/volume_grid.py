"""VolumeGrid: where the voxels of a network's input lie on a scan, and values resampled there and back."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from camtool.placement import Placement, placed

_SLACK = 1e-6  # voxels; rounding of the positions, for voxels on the border of what was seen


@dataclass(frozen=True)
class VolumeGrid:
    """Where an input's voxels lie: voxel `index` of its axis k is at `steps[k] * index + starts[k]` of the scan's axis `axes[k]`.

    Voxel centres are whole numbers, so a volume reaches from -0.5 to its size - 0.5. Every step returns another grid.

    Example:
        >>> grid = VolumeGrid.of((4, 6)).permuted((1, 0)).flipped((True, False)).resized((3, 4)).windowed((2, 4), (1, 0))
        >>> grid.sizes, grid.steps, grid.starts
        ((2, 4), (-2.0, 1.0), (2.5, 0.0))
    """

    axes: tuple[int, ...]
    """Axis of the scan, by axis of the input."""
    steps: tuple[float, ...]
    """Voxels of the scan from one voxel of the input to the next; negative where it is flipped."""
    starts: tuple[float, ...]
    """Position of the input's first voxel on that axis of the scan."""
    sizes: tuple[int, ...]
    """Of the input."""
    shape: tuple[int, ...]
    """Of the scan."""

    @classmethod
    def of(cls, shape: Sequence[int]) -> "VolumeGrid":
        """Return the grid of an input that is the scan itself."""
        rank = len(shape)
        return cls(tuple(range(rank)), (1.0,) * rank, (0.0,) * rank, tuple(shape), tuple(shape))

    def permuted(self, order: Sequence[int]) -> "VolumeGrid":
        """Return the grid whose axes are `order` of this one's."""
        axes, sizes = (tuple(part[k] for k in order) for part in (self.axes, self.sizes))
        steps, starts = (tuple(part[k] for k in order) for part in (self.steps, self.starts))
        return VolumeGrid(axes, steps, starts, sizes, self.shape)

    def flipped(self, flips: Sequence[bool]) -> "VolumeGrid":
        """Return the grid with these axes reversed."""
        ends = [start + step * (size - 1) for start, step, size in zip(self.starts, self.steps, self.sizes, strict=True)]
        steps = tuple(-step if flip else step for step, flip in zip(self.steps, flips, strict=True))
        starts = tuple(end if flip else start for start, end, flip in zip(self.starts, ends, flips, strict=True))
        return VolumeGrid(self.axes, steps, starts, self.sizes, self.shape)

    def resized(self, sizes: Sequence[int], factors: Sequence[float] | None = None) -> "VolumeGrid":
        """Return the grid of other sizes about the same centre.

        Args:
            factors: a new voxel's extent in old ones; None: so that both grids have the same borders.
        """
        factors = [old / new for old, new in zip(self.sizes, sizes, strict=True)] if factors is None else factors
        first = [((old - 1) - (new - 1) * factor) / 2 for old, new, factor in zip(self.sizes, sizes, factors, strict=True)]
        starts = tuple(start + step * place for start, step, place in zip(self.starts, self.steps, first, strict=True))
        steps = tuple(step * factor for step, factor in zip(self.steps, factors, strict=True))
        return VolumeGrid(self.axes, steps, starts, tuple(sizes), self.shape)

    def windowed(self, sizes: Sequence[int], firsts: Sequence[int]) -> "VolumeGrid":
        """Return the grid of `sizes` that begins at these voxels; negative ones lie before this grid's first."""
        starts = tuple(start + step * first for start, step, first in zip(self.starts, self.steps, firsts, strict=True))
        return VolumeGrid(self.axes, self.steps, starts, tuple(sizes), self.shape)

    @property
    def affine(self) -> np.ndarray:
        """Matrix in float64 from an index of the input to a position in voxels of the scan, both with a 1 behind."""
        matrix = np.zeros((len(self.axes) + 1,) * 2)
        matrix[-1, -1] = 1
        for axis, (of_scan, step, start) in enumerate(zip(self.axes, self.steps, self.starts, strict=True)):
            matrix[of_scan, axis], matrix[of_scan, -1] = step, start
        return matrix

    @property
    def beyond(self) -> list[list[int]]:
        """By axis of the input its voxels that lie outside of the scan."""
        pairs = zip(self.axes, self.steps, self.starts, self.sizes, strict=True)
        return [_outside(np.arange(size) * step + start, self.shape[axis]) for axis, step, start, size in pairs]

    def sampled(self, values: Float[Tensor, "*spatial"]) -> Float[Tensor, "*input"]:
        """Return a scan's values at the voxels of the input, linear along each axis; beyond its border those of the border."""
        steps, starts = self._along_scan()
        scale, offset = tuple(1 / step for step in steps), tuple(-start / step for start, step in zip(starts, steps, strict=True))
        return placed(self._turned(values)[None], self.sizes, Placement(scale, offset))[0]

    def shares(self, mask: Tensor) -> Float[Tensor, "*input"]:
        """Return how much of each voxel of the input lies in a mask of the scan, 0 to 1: as `sampled`, but 0 beyond the scan's border."""
        inside = self.sampled(mask.float()).clone()
        for axis, beyond in enumerate(self.beyond):
            inside = inside.index_fill(axis, torch.tensor(beyond, dtype=torch.long, device=inside.device), 0)
        return inside

    def returned(self, saliency: Float[Tensor, "*input"]) -> Float[Tensor, "*spatial"]:
        """Return a map over the input at the scan's voxels, linear along each axis; NaN outside of the input."""
        steps, starts = self._along_scan()
        shape = [self.shape[axis] for axis in self.axes]
        scan = placed(saliency[None], shape, Placement(tuple(steps), tuple(starts)))[0]
        for axis, (step, start, size, own) in enumerate(zip(steps, starts, shape, self.sizes, strict=True)):
            outside = torch.tensor(_outside((np.arange(size) - start) / step, own), dtype=torch.long, device=scan.device)
            scan = scan.index_fill(axis, outside, torch.nan)
        scan = scan.flip([axis for axis, step in enumerate(self.steps) if step < 0])
        return scan.permute([self.axes.index(axis) for axis in range(scan.ndim)]).contiguous()

    def _along_scan(self) -> tuple[list[float], list[float]]:
        """Return steps and starts on a scan turned to the input's axes, so that all steps are above 0."""
        lasts = [self.shape[axis] - 1 for axis in self.axes]
        starts = [last - start if step < 0 else start for last, start, step in zip(lasts, self.starts, self.steps, strict=True)]
        return [abs(step) for step in self.steps], starts

    def _turned(self, values: Tensor) -> Tensor:
        return values.permute(self.axes).flip([axis for axis, step in enumerate(self.steps) if step < 0])


def _outside(places: np.ndarray, size: int) -> list[int]:
    """Return which positions lie outside of an axis of this many voxels."""
    return np.flatnonzero((places < -0.5 - _SLACK) | (places > size - 0.5 + _SLACK)).tolist()
