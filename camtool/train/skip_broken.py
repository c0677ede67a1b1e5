"""A data set whose broken pictures are left out, and named, instead of being replaced by others or ending the training."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from mmengine.registry import DATASETS as ROOT

from camtool.registry import DATASETS


class Broken(NamedTuple):
    """What stands for a sample that could not be read."""

    path: str
    reason: str


@DATASETS.register_module()
class SkipBroken:
    """Gives the samples of `dataset`, and a `Broken` in place of one whose picture cannot be read.

    mmengine's own data sets raise, or draw another sample by numpy's global generator. `camtool train` puts this around the data sets
    of every config.
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
        """What the data set says of itself, the names of its classes among others."""
        return dict(getattr(self.dataset, "metainfo", {}))

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        try:
            sample = self._prepare(index)
        except Exception as error:  # noqa: BLE001 - decoders fail in their own ways
            return Broken(self._path(index), _reason(error))
        return Broken(self._path(index), "its pipeline gives nothing") if sample is None else sample

    def get_data_info(self, index: int) -> dict[str, Any]:
        """Return what is known of a sample before its picture is read."""
        return self.dataset.get_data_info(index)

    def get_cat_ids(self, index: int) -> list[int]:
        """Return the classes of a sample."""
        return self.dataset.get_cat_ids(index)

    def _path(self, index: int) -> str:
        if hasattr(self.dataset, "get_data_info"):
            return str(self.dataset.get_data_info(index).get("img_path", f"sample {index}"))
        return f"sample {index}"


def _reason(error: Exception) -> str:
    if type(error).__name__ == "UnidentifiedImageError":  # its text names an object in memory
        return "it is no picture"
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
