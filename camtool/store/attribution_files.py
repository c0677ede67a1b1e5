"""HDF5 files of maps as ViRelAy reads them: attribution (N, 3, H, W), label (N), prediction (N, classes), index (N)."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from camtool.errors import DataError, OutputError, times

MOST_CLASSES = 100_000
_CHANNELS = 3
"""Of an attribution, as of a picture. ViRelAy draws their sum over channels, and cannot draw a single one (0.6.1 and 1.0.0)."""


class AttributionFile:
    """An HDF5 file that grows by one map after the other.

    Differs from ViRelAy's written format, and follows its reader: `index` is the sample's position in the data set. Of the network's
    output the store has only the probability of the target, so that `prediction` is 0 for the other classes. The map is the first
    channel of `attribution`, the others are 0, so that their sum, which is drawn, is the map.

    Args:
        classes: width of `prediction`.

    Raises:
        OutputError: if h5py is not installed, or the file cannot be written.
    """

    def __init__(self, path: Path, classes: int) -> None:
        if classes > MOST_CLASSES:
            raise OutputError(f"Expected at most {MOST_CLASSES} classes, whose probabilities are written for each sample, got {classes}.")
        try:
            import h5py
        except ImportError as error:
            raise OutputError("HDF5 files need h5py: pip install 'camtool[hdf5]', or choose --format npy.") from error
        self._file: Any = h5py.File(path, "w")
        self._classes = classes
        self._size: tuple[int, ...] | None = None
        self._ids: set[int] = set()

    def __enter__(self) -> "AttributionFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def append(self, index: int, attribution: Tensor, label: int, predicted: int, probability: float) -> None:
        """Add a sample.

        Args:
            index: position of the sample in the data set.
            attribution: (h, w), signed.

        Raises:
            DataError: if the sample is in the file already, or its map is of another size.
        """
        size = tuple(attribution.shape)
        if not 0 <= min(label, predicted) <= max(label, predicted) < self._classes:
            raise DataError(f"Expected classes from 0 to {self._classes - 1}, got label {label} and class {predicted}.")
        if self._size is None:
            self._make(size)
        if size != self._size:
            raise DataError(f"Expected maps of one input size, got {times(self._size or ())} and {times(size)}.")
        if index in self._ids:
            raise DataError(f"Sample {index} has several rows, and ViRelAy reads one a sample: choose a --method and a --layer.")
        count = len(self._ids)
        self._ids.add(index)
        prediction = np.zeros(self._classes, dtype=np.float32)
        prediction[predicted] = probability
        channels = np.zeros((_CHANNELS, *size), dtype=np.float32)
        channels[0] = attribution.to(torch.float32).numpy()
        rows = {"attribution": channels, "label": label, "prediction": prediction, "index": index}
        for name, value in rows.items():
            self._file[name].resize(count + 1, axis=0)
            self._file[name][count] = value

    def _make(self, size: Sequence[int]) -> None:
        self._size = tuple(size)
        shapes: dict[str, tuple[tuple[int, ...], type]] = {
            "attribution": ((_CHANNELS, *size), np.float32),
            "label": ((), np.int64),
            "prediction": ((self._classes,), np.float32),
            "index": ((), np.int64),
        }
        for name, (shape, kind) in shapes.items():
            self._file.create_dataset(
                name, (0, *shape), dtype=kind, maxshape=(None, *shape), chunks=(1 if shape else 1024, *shape), compression="gzip"
            )
