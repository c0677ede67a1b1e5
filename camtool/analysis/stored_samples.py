"""Samples of a store's rows, read again and preprocessed as in the run, with the place of the network's input on them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch import Tensor

from camtool.apis.canvas import Canvas
from camtool.apis.seen_masks import SeenMasks
from camtool.apis.stored_pictures import stored_file
from camtool.apis.subjects import Subject, load_subject
from camtool.errors import DataError
from camtool.models.sources._base import Preprocess
from camtool.models.sources.by_kind import AnyReading, NetworkInput
from camtool.store import MapRow, Store


@dataclass(frozen=True)
class StoredSample:
    """An image, a volume or a signal of a store, and what the network was given of it."""

    subject: Subject
    inputs: Tensor
    """(1, c, *spatial), preprocessed, on the CPU."""
    canvas: Canvas
    """The whole sample."""

    def placed(self, maps: Tensor) -> np.ndarray:
        """Return a map (*spatial) of the network's input on the whole sample, zeros where the network saw nothing."""
        return np.nan_to_num(self.canvas.placed(maps.cpu().numpy()))


@dataclass(frozen=True)
class StoredSamples:
    """Reads the samples of a store's rows.

    Args:
        store: of the rows.
        reading: how files are read, as the network's config says.
        preprocess: of the network.
    """

    store: Store
    reading: AnyReading
    preprocess: Preprocess

    @classmethod
    def of(cls, store: Store, given: NetworkInput) -> "StoredSamples":
        """Return the reader of a store's samples, read as the run read them; DataError if the preprocessing is not known."""
        if given.preprocess is None:
            raise DataError("How the network's input is made of a sample is not known; give --config CONFIG.")
        return cls(store, given.read_as(store.run.get("input")).reading, given.preprocess)

    @classmethod
    def described(cls, store: Store) -> "StoredSamples | None":
        """Return the reader as the run describes its samples, which of images it does not; None if it does not.

        Raises:
            DataError: if the description is damaged.
        """
        description = store.run.get("input")
        given = NetworkInput.described(description) if isinstance(description, dict) else None
        return None if given is None or given.preprocess is None else cls.of(store, given)

    def read(self, row: MapRow) -> StoredSample:
        """Return a row's sample.

        Raises:
            ImageError: if the file is gone, cannot be read, or is not the one that was explained.
            DataError: if it has another size after preprocessing than in the run.
        """
        subject = self.subject(row)
        inputs = self.preprocess(subject.content)
        size = row.input_size
        if size is not None and tuple(inputs.shape[2:]) != size:
            raise DataError(
                f"'{row['path']}' is {tuple(inputs.shape[2:])} after preprocessing, in the run it was {size}; expected the run's config "
                "and data."
            )
        return StoredSample(subject, inputs, subject.canvas(inputs, self.preprocess, original=True))

    def subject(self, row: MapRow) -> Subject:
        """Return what is in a row's sample; ImageError if it is gone, cannot be read, or is not what was explained."""
        return load_subject(stored_file(self.store, row), 0, self.reading)

    def on_input(self, mask: np.ndarray, sample: StoredSample) -> np.ndarray:
        """Return a mask of a sample's own size where the network saw it (*spatial), booleans.

        Raises:
            DataError: if it is of another size, empty, or lies wholly outside of what the network saw.
        """
        return self._seen_masks.of(mask, sample.subject).mask

    @cached_property
    def _seen_masks(self) -> SeenMasks:  # knows the sizes of pictures that it has measured
        return SeenMasks(self.preprocess)
