"""Masks of what should be seen, of a store's samples: from a folder of files, or from annotations of objects."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from camtool.analysis.overlap import Masks
from camtool.analysis.stored_samples import StoredSample, StoredSamples
from camtool.apis.seen_masks import SeenMasks
from camtool.datasets.annotations import Annotations, class_masks
from camtool.errors import DataError
from camtool.store import MapRow

MaskOf: TypeAlias = Callable[[MapRow, StoredSample], np.ndarray]
"""Returns the mask of a row's sample at its own size, booleans; DataError if there is none, or it is not to be compared with."""


def folder_masks(masks: Masks, samples: StoredSamples) -> MaskOf:
    """Return the masks of a folder of files, called as the samples are.

    A mask that is empty, or lies wholly outside of what the network saw, is an error: no map could be right.
    """
    return _seen(samples, lambda row, sample: masks.mask(row["path"], sample.subject, samples.reading))


def annotated_masks(
    annotations: Annotations, samples: StoredSamples, class_names: Sequence[str] | None = None, rule: str = "union"
) -> MaskOf:
    """Return the masks of the objects of each row's explained class.

    Args:
        annotations: by sample.
        class_names: of the network: an object may be labelled by its class's name, or by its number; None: by the number.
        rule: of several objects of the class: "union" or "largest".
    """
    if rule not in ("union", "largest"):
        raise DataError(f"Expected the rule of several objects as union or largest, got '{rule}'.")

    def mask_of(row: MapRow, sample: StoredSample) -> np.ndarray:
        target = row["target"]
        named = [class_names[target]] if class_names and target is not None and target < len(class_names) else []
        (mask,) = class_masks(annotations[row["path"]], None if target is None else {target, *named}, rule)
        return mask

    return _seen(samples, mask_of)


def _seen(samples: StoredSamples, mask_of: MaskOf) -> MaskOf:
    """Return masks of which the network saw something."""
    on_input = SeenMasks(samples.preprocess)

    def checked(row: MapRow, sample: StoredSample) -> np.ndarray:
        mask = mask_of(row, sample)
        on_input.of(mask, sample.subject)
        return mask

    return checked
