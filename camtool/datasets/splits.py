"""Samples of a split of the data set that a config names: images, volumes or signals, and labels, without the pipeline's transforms."""

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from camtool.datasets.arrays import as_picture, as_signal, as_volume
from camtool.errors import CamtoolError, DataError, closest
from camtool.io.images import Picture, read_picture
from camtool.io.pillow import Reading
from camtool.io.signals import Signal, SignalReading, read_signal
from camtool.io.volumes import Volume, VolumeReading, read_volume
from camtool.registry import known_types, unknown_type

SPLITS = {"train": ("train_dataloader",), "val": ("val_dataloader", "test_dataloader")}
"""Config keys of each split's data set, the first that is present is used."""

_RGB = ("CIFAR10", "CIFAR100")
"""Data sets of mmpretrain whose arrays are RGB; the arrays of others are BGR, as mmcv reads files."""


def split_named(data: str) -> str | None:
    """Return the split that "config:val" or "config:train" means, None of other text; DataError if there is no such split.

    Example:
        >>> split_named("config:val"), split_named("pictures")
        ('val', None)
    """
    name = data.removeprefix("config:")
    if name == data:
        return None
    if name not in SPLITS:
        raise DataError(f"Expected config:val or config:train, got '{data}'.")
    return name


@dataclass(frozen=True)
class SplitSample:
    """An image, a volume or a signal of a data set, with its name and labels."""

    content: Picture | Volume | Signal
    name: str
    """Path of its file, or split and index ("val 3") if it has none."""
    labels: tuple[int, ...]
    """True class indices: one, several in a multi-label data set, none if unknown."""


class Samples:
    """A split of the data set of an OpenMMLab config; the pipeline is not applied.

    Args:
        config: with `val_dataloader` or `test_dataloader` for the split "val", `train_dataloader` for "train".
        source: the config's name in messages.

    Raises:
        DataError: if the config has no such data set, or it cannot be built or read.

    Example:
        >>> dataset = dict(type="camtool.Shapes", split="val", count=12)
        >>> samples = Samples(Config(dict(val_dataloader=dict(dataset=dataset))), "val", "my_config.py")
        >>> len(samples), samples.names
        (12, ['cross', 'disc', 'nothing', 'ring', 'square', 'triangle'])
        >>> samples[0].content.shape, samples[0].labels, samples[0].name
        ((64, 64, 3), (0,), 'val 0')
    """

    def __init__(self, config: Config, split: str, source: str) -> None:
        if split not in SPLITS:
            raise DataError(f"Unknown split '{split}'{closest(split, SPLITS)}; expected {' or '.join(SPLITS)}.")
        self.split = split
        self._key, dataset_config = _find(config, split, source)
        self._type = _name(dataset_config.get("type"))
        self._dataset = self._read(lambda: _build(dataset_config))
        if not callable(getattr(self._dataset, "get_data_info", None)):
            raise DataError(f"The {self._description} has no method get_data_info(); expected a data set of OpenMMLab.")
        self._length: int = self._read(lambda: len(self._dataset))
        if not self._length:
            raise DataError(f"The {self._description} is empty.")
        self._is_rgb = bool(_classes_within(self._dataset) & set(_RGB))

    def __len__(self) -> int:
        return self._length

    @property
    def names(self) -> list[str] | None:
        """Class names by label; None if the data set has none."""
        from camtool.datasets.class_names import names_in_dataset

        return names_in_dataset(self._dataset)

    def check_index(self, index: int) -> None:
        """Raise DataError if `index` is out of range."""
        if not 0 <= index < len(self):
            raise DataError(f"Index {index} is out of range: the split '{self.split}' has {len(self)} samples, 0 to {len(self) - 1}.")

    def drawn(self, count: int, seed: int) -> list[int]:
        """Return the indices of `count` random samples without repetition. With the same seed, a larger count extends a smaller one.

        Raises:
            DataError: if the split has fewer samples.
        """
        import torch

        if not 1 <= count <= len(self):
            raise DataError(f"Expected 1 to {len(self)} random samples, the size of the split '{self.split}'; got {count}.")
        return torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))[:count].tolist()

    def __getitem__(self, index: int) -> SplitSample:
        """Return the image of sample `index`, as `read` does."""
        return self.read(index, Reading())

    def read(self, index: int, reading: Reading | VolumeReading | SignalReading) -> SplitSample:
        """Return sample `index`: of volumes and signals the channels are in the order in which the data set has them.

        Args:
            reading: how files are read; its type says what the sample is.

        Raises:
            DataError: if `index` is out of range, or the sample is nothing of this kind.
            ImageError: if its file cannot be read.

        Example:
            >>> dataset = dict(type="camtool.Shapes", split="val", count=3, rank=3, size=24, channels=1)
            >>> samples = Samples(Config(dict(val_dataloader=dict(dataset=dataset))), "val", "my_config.py")
            >>> samples.read(1, VolumeReading()).content.shape
            (24, 24, 24)
        """
        info = self._info(index)
        where = f"{self.split} {index}"
        labels = _labels(info.get("gt_label"))
        if info.get("img") is not None:
            return SplitSample(self._in_memory(np.asarray(info["img"]), where, reading), where, labels)
        path = info.get("img_path")
        if not path:
            raise DataError(f"Sample {index} of the {self._description} has neither 'img' nor 'img_path', only {', '.join(info)}.")
        return SplitSample(_in_file(Path(path), reading), str(path), labels)

    def _in_memory(self, values: np.ndarray, where: str, reading: Reading | VolumeReading | SignalReading) -> Picture | Volume | Signal:
        if isinstance(reading, VolumeReading):
            return as_volume(values, where, reading)
        return as_signal(values, where, reading) if isinstance(reading, SignalReading) else as_picture(values, where, is_rgb=self._is_rgb)

    def entry(self, index: int) -> tuple[str, tuple[int, ...]]:
        """Return the name and the labels of sample `index`, as `self[index]` has them; its image is not read.

        Raises:
            DataError: if `index` is out of range.
        """
        info = self._info(index)
        path = info.get("img_path")
        return str(path) if path and info.get("img") is None else f"{self.split} {index}", _labels(info.get("gt_label"))

    def answers(self, index: int) -> Mapping[str, Any]:
        """Return what the data set says of sample `index`, as it says it: `mask`, `box` and others; its image is not decoded.

        Raises:
            DataError: if `index` is out of range.
        """
        return self._info(index)

    def _info(self, index: int) -> dict[str, Any]:
        self.check_index(index)
        return self._read(lambda: self._dataset.get_data_info(index))

    @property
    def _description(self) -> str:
        return f"data set {self._type} of '{self._key}'"

    def _read(self, read: Callable[[], Any]) -> Any:
        # Data sets raise all kinds of exceptions, few of which name the data set.
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return read()
        except CamtoolError:
            raise
        except Exception as error:
            raise DataError(f"The {self._description} cannot be read: {_reason(error)} {self._advice(error)}") from error

    def _advice(self, error: Exception) -> str:
        if unknown_type(error):
            return "If it is your own, name its module under custom_imports."
        return f"Put it there, or give its folder by --cfg-options {self._key}.dataset.data_root=…"


def _find(config: Config, split: str, source: str) -> tuple[str, dict[str, Any]]:
    for key in SPLITS[split]:
        loader = config.get(key)
        dataset_config = loader.get("dataset") if isinstance(loader, Mapping) else None
        if isinstance(dataset_config, Mapping):
            return key, _without_pipelines(copy.deepcopy(dict(dataset_config)))
    keys = " or ".join(f"'{key}.dataset'" for key in SPLITS[split])
    raise DataError(f"Config '{source}' has no data set for the split '{split}'; expected {keys}. Add it, or give images by --image.")


def _without_pipelines(dataset_config: Any) -> Any:
    """Return a data set's config with empty pipelines, in nested data sets too, so that nothing of them needs to be loaded."""
    if isinstance(dataset_config, (list, tuple)):
        return [_without_pipelines(inner) for inner in dataset_config]
    if isinstance(dataset_config, Mapping):
        emptied = {key: [] if key == "pipeline" else value for key, value in dataset_config.items()}
        return {key: _without_pipelines(value) if key in ("dataset", "datasets") else value for key, value in emptied.items()}
    return dataset_config


def _build(dataset_config: dict[str, Any]) -> Any:
    import mmpretrain.datasets  # noqa: F401 - registers the data sets
    from mmengine.registry import DefaultScope
    from mmpretrain.registry import DATASETS

    with DefaultScope.overwrite_default_scope("mmpretrain"):
        return DATASETS.build(dataset_config)


def _name(dataset_type: Any) -> str:
    return dataset_type.__name__ if isinstance(dataset_type, type) else str(dataset_type)


def _classes_within(dataset: Any) -> set[str]:
    """Return the class names of a data set, of its base classes and of the data sets nested in it."""
    inner = [getattr(dataset, "dataset", None), *(getattr(dataset, "datasets", None) or [])]
    own = {base.__name__ for base in type(dataset).__mro__}
    return own.union(*(_classes_within(nested) for nested in inner if nested is not None))


def _reason(error: Exception) -> str:
    unknown = unknown_type(error)
    if unknown:
        from mmpretrain.registry import DATASETS

        return f"unknown data set type '{unknown[0]}'{closest(unknown[0], known_types(DATASETS))}."
    if isinstance(error, FileNotFoundError) and error.filename:
        return f"'{str(error.filename).rstrip('/')}' does not exist."
    text = " ".join(str(error).split())[:300] or "no message"
    return f"{type(error).__name__}: {text.rstrip('.')}."


def _in_file(path: Path, reading: Reading | VolumeReading | SignalReading) -> Picture | Volume | Signal:
    if isinstance(reading, VolumeReading):
        return read_volume(path, reading)
    return read_signal(path, reading) if isinstance(reading, SignalReading) else read_picture(path, reading)


def _labels(gt_label: Any) -> tuple[int, ...]:
    if gt_label is None:
        return ()
    labels: Sequence[Any] = np.atleast_1d(np.asarray(gt_label)).ravel().tolist()
    return tuple(int(label) for label in labels if isinstance(label, (int, float)) and label >= 0)  # -1: unknown
