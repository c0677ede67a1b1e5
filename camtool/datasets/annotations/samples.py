"""Annotations that a data set's own samples have: masks and boxes of `camtool.Shapes`, or of any data set with such keys."""

from functools import partial

import numpy as np

from camtool.datasets.annotations.annotation import Annotation, Annotations
from camtool.datasets.splits import Samples
from camtool.errors import DataError


def sample_annotations(samples: Samples) -> Annotations:
    """Return the masks of a config's data set by the names of its samples; labels are class indices.

    A sample has one object, whose mask is its key `mask`; an empty one, as of a scene without its object, is none.

    Raises:
        DataError: of a sample that has no mask.

    Example:
        >>> from mmengine.config import Config
        >>> from camtool.datasets.annotations import sample_annotations
        >>> from camtool.datasets.splits import Samples
        >>> dataset = dict(type="camtool.Shapes", split="val", count=6)
        >>> found = sample_annotations(Samples(Config(dict(val_dataloader=dict(dataset=dataset))), "val", "my_config.py"))
        >>> found["val 1"][0].label, found["val 1"][0].size, found["val 2"]  # a disc; nothing
        (1, (64, 64), ())
    """
    entries = {samples.entry(index)[0]: index for index in range(len(samples))}
    return Annotations(entries, partial(_of_sample, samples), f"the split '{samples.split}'")


def _of_sample(samples: Samples, index: int) -> list[Annotation]:
    name, labels = samples.entry(index)
    mask = samples.answers(index).get("mask")
    if mask is None:
        raise DataError(f"Sample '{name}' has no mask; expected a data set whose samples have the key 'mask'.")
    return [Annotation.of_mask(np.asarray(mask), labels[0] if labels else None)] if np.asarray(mask).any() else []
