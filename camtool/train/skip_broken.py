"""Data set wrapper that marks unreadable images, so that they are skipped and reported."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from mmengine.registry import DATASETS as ROOT

from camtool.registry import DATASETS


class Broken(NamedTuple):
    """Placeholder for a sample that could not be read."""

    path: str
    reason: str


@DATASETS.register_module()
class SkipBroken:
    """Wrapper around a data set that returns a `Broken` in place of a sample that cannot be read.

    mmengine's data sets raise, or draw another sample by numpy's global generator. `camtool train` wraps the data sets of every
    config.
    """

    def __init__(self, dataset: Any, lazy_init: bool = False) -> None:
        self.dataset = ROOT.build(dataset) if isinstance(dataset, Mapping) else dataset
        self._prepare = getattr(self.dataset, "prepare_data", self.dataset.__getitem__)
        if not lazy_init:
            self.full_init()

    def full_init(self) -> None:
        """Read the list of samples."""
        if hasattr(self.dataset, "full_init"):
            self.dataset.full_init()

    @property
    def metainfo(self) -> dict[str, Any]:
        """Metadata of the data set, such as `classes`."""
        return dict(getattr(self.dataset, "metainfo", {}))

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        try:
            sample = self._prepare(index)
        except Exception as error:  # noqa: BLE001 - decoders raise all kinds of exceptions
            return Broken(self._path(index), _reason(error))
        return Broken(self._path(index), "its pipeline returns None") if sample is None else sample

    def get_data_info(self, index: int) -> dict[str, Any]:
        """Return the metadata of a sample, without reading its image."""
        return self.dataset.get_data_info(index)

    def get_cat_ids(self, index: int) -> list[int]:
        """Return the class indices of a sample."""
        return self.dataset.get_cat_ids(index)

    def _path(self, index: int) -> str:
        if hasattr(self.dataset, "get_data_info"):
            return str(self.dataset.get_data_info(index).get("img_path", f"sample {index}"))
        return f"sample {index}"


def _reason(error: Exception) -> str:
    if type(error).__name__ == "UnidentifiedImageError":  # its message shows an object in memory
        return "it is not an image"
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
