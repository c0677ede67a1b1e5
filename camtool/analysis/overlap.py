"""Overlap of a store's maps with masks of what should be seen, on the voxels or pixels of the samples themselves."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from camtool.analysis.sources import Source
from camtool.analysis.stored_samples import StoredSamples
from camtool.apis.images import NamedPicture, load_image
from camtool.apis.stored_pictures import scaled_map
from camtool.apis.subjects import Subject
from camtool.apis.volumes import NamedVolume
from camtool.errors import CamtoolError, DataError, times
from camtool.io.names import stem_of, suffix_of
from camtool.io.signals import SignalReading, read_signal
from camtool.io.volumes import check_same_geometry, read_volume, resampled
from camtool.metrics import OVERLAPS
from camtool.models.sources.by_kind import AnyReading

SUFFIXES = (".png", ".nii.gz", ".nii", ".mha", ".nrrd", ".bmp", ".tif", ".npy", ".csv")
"""Of masks, in the order in which they are looked for, after the sample's own."""


@dataclass(frozen=True)
class Masks:
    """Files of masks, which are called as the samples are: `masks/cat/1.png` of `cat/1.jpg`.

    Args:
        folder: of the masks.
        resample: whether masks of other voxels are resampled onto those of the scans.
        label: the value that is the mask; None: all that are not zero.
    """

    folder: Path
    resample: bool = False
    label: int | None = None

    def path(self, sample: str) -> Path | None:
        """Return the file of a sample's mask; None if there is none."""
        place = Path(sample)
        names = [place.name, *(f"{stem_of(place)}{suffix}" for suffix in (suffix_of(place), *SUFFIXES))]
        found = [self.folder / place.parent / name for name in names]
        return next((path for path in found if path.is_file()), None)

    def mask(self, sample: str, subject: Subject, reading: AnyReading) -> np.ndarray:
        """Return the mask of a sample at its own size, booleans.

        That of a signal is a signal of one channel, a value for each of its samples.

        Args:
            sample: the path of the sample in the store.
            subject: what is in that file.
            reading: how the sample was read; of a signal it says which part.

        Raises:
            DataError: if there is no mask, or one of another size or geometry; if the sample is of a kind that has none.
            ImageError: if the mask cannot be read.
        """
        path = self.path(sample)
        if path is None:
            raise DataError(f"No mask of '{sample}' in '{self.folder}'.")
        if isinstance(subject, NamedVolume):
            mask = read_volume(path)
            mask = resampled(mask, onto=subject.volume) if self.resample else mask
            check_same_geometry(mask, subject.volume)
            values = mask.values
        elif isinstance(subject, NamedPicture):
            values = load_image(path).picture.max(axis=2)
            if values.shape != subject.picture.shape[:2]:
                raise DataError(
                    f"Mask '{path}' is {times(values.shape)}, its picture {times(subject.picture.shape[:2])}; expected one size."
                )
        else:
            assert isinstance(reading, SignalReading)  # that of the subject
            signal = subject.signal
            (values,) = read_signal(path, replace(reading, channels=(0,), part=None, rate=signal.rate)).values
            if len(values) != signal.values.shape[1]:
                raise DataError(f"Mask '{path}' has {len(values)} values, its signal {signal.values.shape[1]}; expected one a sample.")
        return values != 0 if self.label is None else values == self.label


def overlaps(
    samples: StoredSamples, source: Source, masks: Masks, *, scores: Sequence[str] = tuple(OVERLAPS), threshold: str | float = "otsu"
) -> Iterator[dict[str, Any]]:
    """Yield by row of a method and layer how its map and the sample's mask overlap, None with a reason where they cannot be compared.

    Args:
        scores: of `camtool.metrics.OVERLAPS`.
        threshold: of attention: "otsu", that of each map, or a number from 0 to 1.

    Raises:
        DataError: if there is no such score.
    """
    functions: Mapping[str, Any] = {name: OVERLAPS[name] for name in scores}
    for row in source.rows(samples.store):
        found: dict[str, Any] = {key: row[key] for key in ("id", "path", "label", "target", "method", "layer")}
        try:
            saliency, sample = scaled_map(row), samples.read(row)
            on_sample, mask = sample.placed(saliency), masks.mask(row["path"], sample.subject, samples.reading)
            values = {name: float(function(on_sample[None], mask[None], threshold)[0]) for name, function in functions.items()}
            yield {**found, **values, "reason": ""}
        except CamtoolError as error:
            yield {**found, **dict.fromkeys(functions), "reason": str(error)}
