"""Handwritten digits: the 1797 images of 8x8 pixels in scikit-learn, or MNIST."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Integer, UInt8
from mmpretrain.datasets import BaseDataset

from camtool.errors import DataError, closest
from camtool.io.atomic import fill_folder
from camtool.registry import DATASETS

SPLITS = ("train", "val")
SOURCES = ("scikit-learn", "mnist")
HELD_OUT = 5  # every fifth of scikit-learn's digits is for validation; they are in blocks by writer
MOST = 16  # the highest grey level of scikit-learn's digits


@DATASETS.register_module()
class Digits(BaseDataset):  # type: ignore[misc]  # mmpretrain has no types
    """Handwritten digits, white on black.

    Args:
        split: "train" or "val". "val" is every fifth of scikit-learn's digits, or MNIST's test set.
        source: "scikit-learn": 8x8, part of that package. "mnist": 28x28, read from `data_root` or downloaded by torchvision.
        keywords: arguments of mmpretrain's BaseDataset: `pipeline`, `indices`, …

    Raises:
        DataError: if MNIST is missing and cannot be downloaded.
    """

    METAINFO: ClassVar[dict[str, Any]] = {"classes": tuple("0123456789")}

    def __init__(self, *, split: str = "train", source: str = "scikit-learn", data_root: str = "data", **keywords: Any) -> None:
        for value, known, name in ((split, SPLITS, "split"), (source, SOURCES, "source")):
            if value not in known:
                raise DataError(f"Digits have no {name} '{value}'{closest(value, known)}; expected {' or '.join(known)}.")
        root = Path(data_root).expanduser()
        self._pictures, self._labels = _sklearn_digits(split) if source == "scikit-learn" else _mnist(root, train=split == "train")
        super().__init__(ann_file="", **keywords)

    def load_data_list(self) -> list[dict[str, Any]]:
        return [{"picture": index, "gt_label": int(label)} for index, label in enumerate(self._labels)]

    def get_data_info(self, idx: int) -> dict[str, Any]:
        """Return `img` uint8 (h, w, 3), `gt_label` and `sample_idx`."""
        info = super().get_data_info(idx)
        info["img"] = np.repeat(self._pictures[info["picture"]][..., None], 3, axis=-1)
        return info


def _sklearn_digits(split: str) -> tuple[UInt8[np.ndarray, "n 8 8"], Integer[np.ndarray, " n"]]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    held_out = np.arange(len(digits.target)) % HELD_OUT == 0
    selected = held_out if split == "val" else ~held_out
    return (digits.images[selected] * (255 / MOST)).round().astype(np.uint8), digits.target[selected]


def _mnist(root: Path, *, train: bool) -> tuple[UInt8[np.ndarray, "n 28 28"], Integer[np.ndarray, " n"]]:
    from torchvision.datasets import MNIST

    def read(folder: Path) -> Any:
        try:
            return MNIST(folder, train=train, download=True)
        except (OSError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise DataError(
                f"No MNIST in '{root}', and it cannot be downloaded ({reason}). Put its four files into '{root / 'MNIST' / 'raw'}', "
                'or use source="scikit-learn".'
            ) from error

    def fetch(folder: Path) -> None:
        read(folder)
        (folder / "MNIST" / "raw").rename(folder / "raw")
        (folder / "MNIST").rmdir()

    fill_folder(root / "MNIST", fetch)  # torchvision itself writes into files that another process may be reading
    digits = read(root)  # downloads nothing: the files are there now
    return digits.data.numpy(), digits.targets.numpy()
