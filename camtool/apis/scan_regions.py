"""Regions of scans as targets: a mask file on a scan's voxels, put on the network's input as the scan itself is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from camtool.apis.subjects import Subject
from camtool.apis.volumes import NamedVolume
from camtool.errors import TargetError
from camtool.io.volumes import Volume, check_same_geometry, resampled
from camtool.models import Network
from camtool.models.sources.volume_preprocessing import VolumePreprocess
from camtool.targets import Region


@dataclass(frozen=True)
class ScanMask:
    """A mask on the voxels of scans."""

    mask: Volume
    """The region is where it is not zero."""
    resample: bool = False
    """Whether a mask of other voxels is resampled onto those of the scan, by the nearest neighbour."""

    def regions(self, subjects: Sequence[Subject], network: Network, index: int) -> list[Region]:
        """Return the region on the network's input for each scan: voxels of which at least half lies in the mask.

        Args:
            index: of the class.

        Raises:
            TargetError: if the network takes no volumes, or nothing of the mask is in its input.
            ImageError: if the mask lies elsewhere than the scan, and is not resampled.
        """
        return [self._region(subject, network.preprocess, index) for subject in subjects]

    def _region(self, subject: Subject, preprocess: Any, index: int) -> Region:
        if not isinstance(subject, NamedVolume) or not isinstance(preprocess, VolumePreprocess):
            raise TargetError(f"Mask '{self.mask.name}' is a volume; expected a picture as the mask of an image.")
        scan = subject.volume
        mask = resampled(self.mask, onto=scan) if self.resample else self.mask
        check_same_geometry(mask, scan)
        seen = preprocess.grid(scan).shares(torch.from_numpy(np.ascontiguousarray(mask.values != 0))) >= 0.5
        if not seen.any():
            raise TargetError(
                f"Nothing of the mask '{self.mask.name}' is in the network's input; expected a larger region, or another crop."
            )
        return Region(seen, index)
