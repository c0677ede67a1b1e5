"""Masks and boxes of what should be seen, of a store's samples: from a folder of files, or from annotations of objects."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from camtool.analysis.overlap import Masks
from camtool.analysis.stored_samples import StoredSample, StoredSamples
from camtool.apis.images import NamedPicture
from camtool.datasets.annotations import Annotations, bounding_box, class_masks
from camtool.errors import OUTSIDE_CROP, DataError
from camtool.store import MapRow


@dataclass(frozen=True)
class SampleMasks:
    """What a row's map is compared with; DataError where there is nothing, or the network saw nothing of it: no map could be right.

    Args:
        samples: of the store.
        regions_of: returns of a row's sample the regions of its objects at its own size, booleans (k, *size), from which the mask and the
            boxes are made; DataError if there are none.
    """

    samples: StoredSamples
    regions_of: Callable[[MapRow, StoredSample], np.ndarray]

    def on_sample(self, row: MapRow, sample: StoredSample) -> np.ndarray:
        """Return the mask at the sample's own size (*size), booleans."""
        mask = _union(self.regions_of(row, sample))
        self.samples.on_input(mask, sample)  # an error where nothing of it was seen
        return mask

    def on_input(self, row: MapRow, sample: StoredSample) -> np.ndarray:
        """Return the mask on the network's input (*spatial), booleans: of what was cropped away nothing."""
        return self.samples.on_input(_union(self.regions_of(row, sample)), sample)

    def boxes(self, row: MapRow, sample: StoredSample) -> np.ndarray:
        """Return the boxes around the objects on the network's input (k, rank, 2): what was cropped away of one is cut off."""
        found, outside = [], None
        for region in self.regions_of(row, sample):
            try:
                found.append(bounding_box(self.samples.on_input(region, sample)))
            except DataError as error:
                if error.status != OUTSIDE_CROP:
                    raise
                outside = outside or error
        if not found:
            raise outside or DataError(f"Expected a box of '{row['path']}', got none; leave the sample out.")
        return np.stack(found)


def _union(regions: np.ndarray) -> np.ndarray:
    return np.asarray(regions.any(axis=0))


def folder_masks(masks: Masks, samples: StoredSamples) -> SampleMasks:
    """Return the masks of a folder of files, called as the samples are; one mask is one object."""
    return SampleMasks(samples, lambda row, sample: masks.mask(row["path"], sample.subject, samples.reading)[None])


def annotated_masks(
    annotations: Annotations, samples: StoredSamples, class_names: Sequence[str] | None = None, rule: str = "union"
) -> SampleMasks:
    """Return the masks of the objects of each row's explained class.

    Args:
        annotations: by sample.
        class_names: of the network: an object may be labelled by its class's name, or by its number; None: by the number.
        rule: of several objects of the class: "union", all of them, or "largest".
    """
    if rule not in ("union", "largest"):
        raise DataError(f"Expected the rule of several objects as union or largest, got '{rule}'.")

    def regions_of(row: MapRow, sample: StoredSample) -> np.ndarray:
        target = row["target"]
        names = class_names or []
        named = [names[target]] if target is not None and target < len(names) else []
        number = [str(target)] if str(target) not in names else []  # as files that hold words have it; a class may be called "7", too
        label = None if target is None else {target, *named, *number}
        regions = class_masks(annotations[row["path"]], label, "each" if rule == "union" else rule)
        is_signal = regions.ndim == 2 and isinstance(sample.subject, NamedPicture)  # in a picture one pixel wide
        return regions[..., None] if is_signal else regions

    return SampleMasks(samples, regions_of)
