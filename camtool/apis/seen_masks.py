"""Masks of a sample put where the network saw it: on its input, as maps are, and how much of them lay outside of the crop."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool

from camtool.apis.images import NamedPicture
from camtool.apis.signals import NamedSignal
from camtool.apis.subjects import Subject
from camtool.apis.volumes import NamedVolume
from camtool.errors import OUTSIDE_CROP, DataError, times
from camtool.models.sources._base import Preprocess
from camtool.models.sources.preprocessing import BandPreprocess
from camtool.visualization.inverse_preprocessing import Geometry, measure_geometry

_HALF = 0.498  # of 255 levels 127: half of one, rounded


@dataclass(frozen=True, eq=False)
class SeenMask:
    """A mask on the network's input."""

    mask: Bool[np.ndarray, "*spatial"]
    """Positions of which at least half lies in the mask; of one too fine for that those with most of it."""
    outside: float
    """Share of the mask's positions, on the sample itself, that the network did not see, 0 to 1."""


class SeenMasks:
    """Puts masks of samples on a network's input, whatever its preprocessing does: resizing, cropping, padding, flips.

    Args:
        preprocess: of the network.

    Example:
        >>> import numpy as np
        >>> from camtool.apis.images import load_image
        >>> from camtool.apis.seen_masks import SeenMasks
        >>> from camtool.models.sources.preprocessing import described
        >>> mask = np.zeros((32, 64), bool)
        >>> mask[:16, :32] = True
        >>> seen = SeenMasks(described({"crop": 32})).of(mask, load_image(np.zeros((32, 64, 3))))  # the middle half
        >>> seen.mask.shape, int(seen.mask.sum()), seen.outside
        ((32, 32), 256, 0.5)
    """

    def __init__(self, preprocess: Preprocess) -> None:
        self._preprocess = preprocess
        self._geometries: dict[tuple[int, ...], Geometry] = {}  # by size of a picture

    def of(self, mask: Bool[np.ndarray, "*size"], subject: Subject) -> SeenMask:
        """Return a mask of a sample's own size (height, width), (x, y, z) or (t,), on the network's input.

        Raises:
            DataError: if it is of another size, empty, or lies wholly outside of what the network saw, which has the status OUTSIDE_CROP.
            ImageError: if the preprocessing cannot be undone.
        """
        size = _size(subject)
        if mask.shape != size:
            raise DataError(f"The mask of '{subject.name}' is {times(mask.shape)}, the sample {times(size)}; expected one size.")
        if not mask.any():
            raise DataError(f"Expected a mask with at least one position, got an empty one of '{subject.name}'; leave the sample out.")
        shares, was_seen = self._placed(mask, subject)
        outside = float((mask & ~was_seen).sum() / mask.sum())
        if outside == 1 or not shares.max() > 0:
            raise DataError(
                f"The mask of '{subject.name}' lies wholly outside of what the network saw; leave the sample out, or crop less.",
                status=OUTSIDE_CROP,
            )
        return SeenMask(shares >= min(_HALF, float(shares.max())), outside)

    def _placed(self, mask: np.ndarray, subject: Subject) -> tuple[np.ndarray, np.ndarray]:
        """Return (share of each of the input's positions that lies in the mask, whether the network saw each of the sample's)."""
        preprocess: Any = self._preprocess
        if isinstance(subject, NamedPicture):
            geometry = self._geometry(subject)
            shares = geometry.seen_part(np.repeat(mask[..., None], 3, axis=2).astype(np.uint8) * 255, outside=0)[..., 0] / 255
            return shares, ~np.isnan(geometry.to_original(np.ones(geometry.seen_size)))
        if isinstance(subject, NamedVolume):
            grid = preprocess.grid(subject.volume)
            was_seen = ~np.isnan(preprocess.to_scan(np.ones(grid.sizes, np.float32), subject.volume))
            return grid.shares(torch.from_numpy(mask)).numpy(), was_seen
        shares = np.nan_to_num(preprocess.seen(mask.astype(np.float64), subject.signal))
        was_seen = ~np.isnan(preprocess.to_signal(np.ones(shares.shape), subject.signal))
        size = tuple(preprocess(subject.signal).shape[2:])  # time, be it behind channels as rows, or before an axis of 1
        return np.broadcast_to(shares[:, None] if size == (*shares.shape, 1) else shares, size), was_seen

    def _geometry(self, subject: NamedPicture) -> Geometry:
        preprocess = self._preprocess.of_picture if isinstance(self._preprocess, BandPreprocess) else self._preprocess
        size = subject.picture.shape[:2]
        if size not in self._geometries:
            self._geometries[size] = measure_geometry(subject.picture, preprocess)
        return self._geometries[size]


def _size(subject: Subject) -> tuple[int, ...]:
    if isinstance(subject, NamedSignal):
        return (subject.signal.length,)
    return tuple(subject.volume.shape if isinstance(subject, NamedVolume) else subject.picture.shape[:2])
