"""Windows over an input: where they lie, and the Gaussian weights by which what is found in them is blended."""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

Place: TypeAlias = tuple[slice, ...]
"""Of a window on the input, by axis."""

_SPREAD = 0.125  # of the Gaussian, in windows, as in MONAI's and nnU-Net's inference
_LEAST_WEIGHT = 1e-3  # at a window's corner, by axis
_ALIGNED = 4  # the step is a multiple of a power of two about this much smaller than it


@dataclass(frozen=True)
class Windows:
    """Windows over an input: their size, and where they begin, by axis.

    Example:
        >>> Windows.over((100, 64), (48, 96), 0.5)
        Windows(size=(48, 64), starts=((0, 24, 48, 52), (0,)))
    """

    size: tuple[int, ...]
    starts: tuple[tuple[int, ...], ...]

    @classmethod
    def over(cls, shape: Sequence[int], window: Sequence[int], overlap: float) -> "Windows":
        """Return the windows over an input of this shape; one that is larger than an axis takes the whole axis.

        Windows begin at multiples of a power of two, as the cells of a network's layers do, so that these lie alike in every window;
        the last one ends where the input does.

        Args:
            window: size by axis.
            overlap: share of a window that the next one covers, too.
        """
        size = tuple(min(side, wanted) for side, wanted in zip(shape, window, strict=True))
        starts = []
        for side, extent in zip(shape, size, strict=True):
            step = max(int(extent * (1 - overlap)), 1)
            unit = 2 ** max((step // _ALIGNED).bit_length() - 1, 0)
            step -= step % unit
            starts.append(tuple(dict.fromkeys([*range(0, side - extent, step), side - extent])))
        return cls(size, tuple(starts))

    def __len__(self) -> int:
        return math.prod(map(len, self.starts))

    def __iter__(self) -> Iterator[tuple[slice, ...]]:
        for corner in itertools.product(*self.starts):
            yield tuple(slice(start, start + extent) for start, extent in zip(corner, self.size, strict=True))

    def weights(self) -> list[Float[Tensor, " side"]]:
        """Return by axis the Gaussian weights within a window, 1 at its centre."""
        found = []
        for extent in self.size:
            places = torch.arange(extent, dtype=torch.float32, device="cpu") - (extent - 1) / 2
            found.append(torch.exp(-0.5 * (places / max(_SPREAD * extent, 0.5)) ** 2).clamp(min=_LEAST_WEIGHT))
        return found

    def weighted(self, values: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return values (…, *size) of a window times their weights."""
        for axis, weights in enumerate(self.weights(), start=-len(self.size)):
            values = values * weights.to(values.device).view(-1, *[1] * (-1 - axis))
        return values

    def averaged(self, sums: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Divide, in place, the sums (…, *spatial) of all weighted windows by the sums of the weights, which are products over the axes."""
        for axis, (weights, starts) in enumerate(zip(self.weights(), self.starts, strict=True), start=-len(self.size)):
            whole = torch.zeros(sums.shape[axis], device="cpu")
            for start in starts:
                whole[start : start + len(weights)] += weights
            sums /= whole.to(sums.device).view(-1, *[1] * (-1 - axis))
        return sums


def batched(windows: Iterable[Place], size: int) -> Iterator[list[Place]]:
    """Yield the windows, so many at a time.

    Example:
        >>> [len(few) for few in batched(Windows.over((64, 64), (32, 32), 0.5), 4)]
        [4, 4, 1]
    """
    places = iter(windows)
    while few := list(itertools.islice(places, size)):
        yield few


def part_of(values: Tensor, place: Sequence[slice]) -> Tensor:
    """Return the view of values (…, *spatial) within a window."""
    for axis, span in enumerate(place, start=-len(place)):
        values = values.narrow(axis, span.start, span.stop - span.start)
    return values
