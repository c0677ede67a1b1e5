"""Samples: a split of the data set that a config names, read as it lies there, nothing augmented."""

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from camtool.errors import CamtoolError, DataError, closest, times
from camtool.io.images import Picture, read_picture
from camtool.registry import known_types, unknown_type

SPLITS = {"train": ("train_dataloader",), "val": ("val_dataloader", "test_dataloader")}
"""By split the keys of a config that may hold it, the first one that does is it."""

_RGB = ("CIFAR10", "CIFAR100")
"""Data sets of mmpretrain that hand over arrays in RGB; others do as mmcv, which reads files as BGR."""


@dataclass(frozen=True)
class LabelledPicture:
    """A picture of a data set and what is known of it."""

    picture: Picture
    name: str
    """Its file, else its split and index."""
    labels: tuple[int, ...]
    """True classes: one; several where there may be several; none where none are known."""


class Samples:
    """A split of the data set of a config of OpenMMLab; its pipeline is left out, whatever it would do to the pictures.

    Args:
        config: with `val_dataloader` or `test_dataloader` for the split "val", `train_dataloader` for "train".
        source: what the config is called in messages.

    Raises:
        DataError: if the config has no such data set, or it cannot be built or read.
    """

    def __init__(self, config: Config, split: str, source: str) -> None:
        if split not in SPLITS:
            raise DataError(f"Unknown split '{split}'{closest(split, SPLITS)}; expected {' or '.join(SPLITS)}.")
        self.split = split
        self._key, described = _find(config, split, source)
        self._kind = _name(described.get("type"))
        self._dataset = self._read(lambda: _build(described))
        if not callable(getattr(self._dataset, "get_data_info", None)):
            raise DataError(f"{self._words} has no get_data_info(); expected a data set of OpenMMLab.")
        self._length: int = self._read(lambda: len(self._dataset))
        if not self._length:
            raise DataError(f"{self._words} is empty.")
        self._is_rgb = bool(_classes_within(self._dataset) & set(_RGB))

    def __len__(self) -> int:
        return self._length

    @property
    def names(self) -> list[str] | None:
        """The classes' names, in the order of the labels; None where they have none."""
        from camtool.datasets.class_names import names_in_dataset

        return names_in_dataset(self._dataset)

    def check_index(self, index: int) -> None:
        """Raise DataError if there is no sample of this index."""
        if not 0 <= index < len(self):
            raise DataError(f"Index {index} is out of range: the split '{self.split}' has {len(self)} samples, 0 to {len(self) - 1}.")

    def drawn(self, count: int, seed: int) -> list[int]:
        """Return the indices of `count` samples by chance, none twice; more of them begin with the same.

        Raises:
            DataError: if the split has less.
        """
        import torch

        if not 1 <= count <= len(self):
            raise DataError(f"{count} random samples: expected 1 to {len(self)}, all that the split '{self.split}' has.")
        return torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))[:count].tolist()

    def __getitem__(self, index: int) -> LabelledPicture:
        """Return a sample.

        Raises:
            DataError: if there is none of this index, or it holds no picture.
            ImageError: if its file cannot be read.
        """
        self.check_index(index)
        info: dict[str, Any] = self._read(lambda: self._dataset.get_data_info(index))
        where = f"{self.split} {index}"
        if info.get("img") is not None:
            return LabelledPicture(_as_picture(info["img"], where, is_rgb=self._is_rgb), where, _labels(info.get("gt_label")))
        path = info.get("img_path")
        if not path:
            raise DataError(f"Sample {index} of {self._words} has neither 'img' nor 'img_path'; it has {', '.join(info)}.")
        return LabelledPicture(read_picture(Path(path)), str(path), _labels(info.get("gt_label")))

    @property
    def _words(self) -> str:
        return f"The data set {self._kind} of '{self._key}'"

    def _read(self, read: Callable[[], Any]) -> Any:
        # Every data set fails in ways of its own, few of which name the data set.
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return read()
        except CamtoolError:
            raise
        except Exception as error:
            raise DataError(f"{self._words} cannot be read: {_reason(error)} {self._way_out(error)}") from error

    def _way_out(self, error: Exception) -> str:
        if unknown_type(error):
            return "Where it is your own, name its module under custom_imports."
        return f"Put it where the config says, or say where it is by --cfg-options {self._key}.dataset.data_root=…"


def _find(config: Config, split: str, source: str) -> tuple[str, dict[str, Any]]:
    for key in SPLITS[split]:
        loader = config.get(key)
        described = loader.get("dataset") if isinstance(loader, Mapping) else None
        if isinstance(described, Mapping):
            return key, _without_pipelines(copy.deepcopy(dict(described)))
    keys = " or ".join(f"'{key}.dataset'" for key in SPLITS[split])
    raise DataError(f"Config '{source}' has no data set for the split '{split}'; expected {keys}. Give pictures by --image.")


def _without_pipelines(described: Any) -> Any:
    """Return a data set's config, and those within it, with empty pipelines: what they would load is not needed."""
    if isinstance(described, (list, tuple)):
        return [_without_pipelines(one) for one in described]
    if isinstance(described, Mapping):
        emptied = {key: [] if key == "pipeline" else value for key, value in described.items()}
        return {key: _without_pipelines(value) if key in ("dataset", "datasets") else value for key, value in emptied.items()}
    return described


def _build(described: dict[str, Any]) -> Any:
    import mmpretrain.datasets  # noqa: F401 - registers the data sets
    from mmengine.registry import DefaultScope
    from mmpretrain.registry import DATASETS

    with DefaultScope.overwrite_default_scope("mmpretrain"):
        return DATASETS.build(described)


def _name(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind)


def _classes_within(dataset: Any) -> set[str]:
    """Return the names of a data set's class and of its bases, and of those of data sets within it."""
    inner = [getattr(dataset, "dataset", None), *(getattr(dataset, "datasets", None) or [])]
    own = {kind.__name__ for kind in type(dataset).__mro__}
    return own.union(*(_classes_within(one) for one in inner if one is not None))


def _reason(error: Exception) -> str:
    unknown = unknown_type(error)
    if unknown:
        from mmpretrain.registry import DATASETS

        return f"there is no data set '{unknown[0]}'{closest(unknown[0], known_types(DATASETS))}."
    if isinstance(error, FileNotFoundError) and error.filename:
        return f"there is no '{str(error.filename).rstrip('/')}'."
    text = " ".join(str(error).split())[:300] or "no reason given"
    return f"{type(error).__name__}: {text.rstrip('.')}."


def _as_picture(values: Any, where: str, *, is_rgb: bool) -> Picture:
    image = np.asarray(values)
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3) or image.dtype != np.uint8:
        found = f"{image.dtype} of {times(image.shape)}"
        raise DataError(f"The picture '{where}' is {found}; expected uint8 (height, width, 3), (…, 1) or without channels.")
    if image.shape[2] == 1:
        image = image.repeat(3, axis=2)
    return np.ascontiguousarray(image if is_rgb else image[..., ::-1])


def _labels(given: Any) -> tuple[int, ...]:
    if given is None:
        return ()
    labels: Sequence[Any] = np.atleast_1d(np.asarray(given)).ravel().tolist()
    return tuple(int(label) for label in labels if isinstance(label, (int, float)) and label >= 0)  # -1: not known
