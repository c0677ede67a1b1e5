"""Data sets of a run: files, a split of a config's data set, or any map-style data set of torch."""

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from camtool.apis import Explainer
from camtool.apis.images import PictureFile
from camtool.apis.subjects import SubjectLike, subject_of
from camtool.apis.subjects import digest_of as digest_of_subject
from camtool.datasets.listing import FileList, list_files
from camtool.datasets.splits import Samples, split_named
from camtool.errors import DataError
from camtool.io.digests import digest_of, digest_of_path
from camtool.models.sources.by_kind import AnyReading, suffixes_of

_IMAGE_KEYS = ("image", "img", "inputs", "input", "pixel_values", "x")
_LABEL_KEYS = ("label", "labels", "gt_label", "target", "y")


@dataclass(frozen=True)
class Item:
    """A sample of a data set as it was read."""

    content: SubjectLike
    """A picture, a volume or a signal; a floating-point tensor (c, *spatial) is the network's input as it is."""
    digest: str
    label: int | str | None = None
    """The true class: its index or name."""


class RunData(ABC):
    """Samples in a fixed order, read one by one."""

    root: str | None = None
    """Folder that the paths are relative to."""
    names: Sequence[str] | None = None
    """Class names by label."""
    labels: Sequence[int | str | None] | None = None
    """The labels of all samples, where they are known without reading them."""
    from_folders = False
    """Whether the labels are names of folders."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def path(self, number: int) -> str:
        """Return what a sample is called."""

    @abstractmethod
    def read(self, number: int) -> Item:
        """Return a sample; CamtoolError if it cannot be read."""

    @abstractmethod
    def fingerprint(self) -> dict[str, Any]:
        """Return what tells another data set from this one, as JSON values; no times."""


class FileData(RunData):
    """Files of images, volumes or signals; a listed DICOM folder is one volume."""

    def __init__(self, files: FileList, reading: AnyReading) -> None:
        self._files, self._reading = files, reading
        self.root = os.path.abspath(files.root)
        self.labels = files.labels
        self.from_folders = files.from_folders

    def __len__(self) -> int:
        return len(self._files)

    def path(self, number: int) -> str:
        return self._files.paths[number]

    def read(self, number: int) -> Item:
        path = self._files.root / self._files.paths[number]
        return Item(PictureFile(path, self._reading), _digest_of_file(path))

    def fingerprint(self) -> dict[str, Any]:
        files = self._files
        lines = (f"{row}" for row in zip(files.paths, files.sizes(), files.labels, strict=True))
        return {"samples": len(files), "paths, sizes and labels": digest_of(lines)}


class SplitData(RunData):
    """The training or the validation data set of a config."""

    def __init__(self, samples: Samples, reading: AnyReading) -> None:
        self._samples, self._reading = samples, reading
        self.names = samples.names
        entries = [samples.entry(index) for index in range(len(samples))]
        self._paths = [path for path, _ in entries]
        self.labels = [labels[0] if len(labels) == 1 else None for _, labels in entries]
        folder = os.path.commonpath([os.path.dirname(path) for path in self._paths]) if all(map(os.path.isabs, self._paths)) else ""
        self.root = folder or None
        self._shown = [os.path.relpath(path, folder) for path in self._paths] if folder else self._paths

    def __len__(self) -> int:
        return len(self._samples)

    def path(self, number: int) -> str:
        return self._shown[number]

    def read(self, number: int) -> Item:
        subject = subject_of(self._samples.read(number, self._reading))
        path = Path(self._paths[number])
        return Item(subject, _digest_of_file(path) if path.is_file() else digest_of_subject(subject))

    def fingerprint(self) -> dict[str, Any]:
        sizes = (os.path.getsize(path) if os.path.isfile(path) else -1 for path in self._paths)
        lines = (f"{row}" for row in zip(self._shown, sizes, self.labels or (), strict=True))
        return {"samples": len(self), "split": self._samples.split, "paths, sizes and labels": digest_of(lines)}


class TorchData(RunData):
    """A map-style data set of torch; a sample is a picture or an input, (it, label, …), or a dict of both."""

    def __init__(self, dataset: Any) -> None:
        if not callable(getattr(dataset, "__getitem__", None)) or not callable(getattr(dataset, "__len__", None)):
            raise DataError(
                f"Expected a map-style data set, with __len__ and __getitem__, got {type(dataset).__name__}; a run goes on by numbers."
            )
        self._dataset = dataset
        self.names = getattr(dataset, "classes", None)
        if not len(dataset):
            raise DataError("The data set is empty; expected at least one sample.")

    def __len__(self) -> int:
        return len(self._dataset)

    def path(self, number: int) -> str:
        return str(number)

    def read(self, number: int) -> Item:
        try:
            sample = self._dataset[number]
        except Exception as error:
            raise DataError(f"Sample {number}: {type(error).__name__}: {' '.join(str(error).split())[:300]}") from error
        content, label = _parts_of(sample, number)
        return Item(content, _digest_of(content), label)

    def fingerprint(self) -> dict[str, Any]:
        return {"samples": len(self), "type": type(self._dataset).__qualname__}


def as_run_data(data: Any, explainer: Explainer) -> RunData:
    """Return the data set of a run.

    Args:
        data: a folder, a list, "config:val", "config:train", a map-style data set, or a DataLoader, of which its data set is taken.

    Raises:
        DataError: if there is none, or it has no samples.
    """
    if isinstance(data, RunData):
        return data
    if isinstance(data, DataLoader):
        data = data.dataset
    if not isinstance(data, (str, Path)):
        return TorchData(data)
    text, reading = str(data), explainer.network.reading
    if (split := split_named(text)) is not None:
        loaded = explainer.settings.loaded
        return SplitData(Samples(loaded.config, split, loaded.name), reading)
    return FileData(list_files(Path(os.path.expanduser(text)), suffixes_of(reading)), reading)


def _digest_of_file(path: Path) -> str:
    try:
        return digest_of_path(path)
    except OSError as error:
        raise DataError(f"'{path}' cannot be read: {error.strerror}.") from error


def _digest_of(content: Any) -> str:
    if isinstance(content, (str, Path)):
        return _digest_of_file(Path(content))
    if isinstance(content, Tensor):  # NumPy has no bfloat16
        flat = content.detach().cpu().contiguous().flatten()
        return hashlib.sha256(flat.view(torch.uint8).numpy().tobytes()).hexdigest()
    return hashlib.sha256(np.ascontiguousarray(content).tobytes()).hexdigest()


def _parts_of(sample: Any, number: int) -> tuple[Any, int | None]:
    """Return the picture, or the input, and the label of a sample."""
    if isinstance(sample, Mapping):
        image = next((sample[key] for key in _IMAGE_KEYS if key in sample), None)
        label = next((sample[key] for key in _LABEL_KEYS if key in sample), None)
    elif isinstance(sample, (tuple, list)):
        image, label = (*sample, None, None)[:2]
    else:
        image, label = sample, None
    if image is None:
        raise DataError(f"Sample {number} has no picture; expected (picture, label), or a dict with one of {', '.join(_IMAGE_KEYS)}.")
    try:
        known = None if label is None or np.size(label) != 1 else int(np.asarray(label).item())
    except (TypeError, ValueError):
        known = None
    return image, known
