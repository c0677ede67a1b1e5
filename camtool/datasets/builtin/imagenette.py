"""Imagenette, ten easily classified classes of ImageNet at 160 pixels: https://github.com/fastai/imagenette."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from mmpretrain.datasets import BaseDataset

from camtool.errors import DataError, closest
from camtool.io.atomic import fill_folder
from camtool.registry import DATASETS

FOLDER = "imagenette2-160"
ARCHIVE = f"https://s3.amazonaws.com/fast-ai-imageclas/{FOLDER}.tgz"
CLASSES = {
    "n01440764": "tench",
    "n02102040": "English springer",
    "n02979186": "cassette player",
    "n03000684": "chain saw",
    "n03028079": "church",
    "n03394916": "French horn",
    "n03417042": "garbage truck",
    "n03425413": "gas pump",
    "n03445777": "golf ball",
    "n03888257": "parachute",
}
"""Class names by WordNet id, in the order of the data set's labels."""

SPLITS = ("train", "val")


@DATASETS.register_module()
class Imagenette(BaseDataset):  # type: ignore[misc]  # mmpretrain has no types
    """The images in `data_root/imagenette2-160`, downloaded by torchvision if missing.

    Args:
        data_root: the folder that contains `imagenette2-160`, or `imagenette2-160` itself.
        split: "train" or "val".
        download: download the data set if it is missing.
        indices: a list of indices; or a number of images, taken evenly over the split, so that classes keep their proportions.
        keywords: arguments of mmpretrain's BaseDataset: `pipeline`, …

    Raises:
        DataError: if it is missing and cannot be downloaded, or incomplete.
    """

    METAINFO: ClassVar[dict[str, Any]] = {"classes": tuple(CLASSES.values())}

    def __init__(
        self,
        *,
        data_root: str = "data",
        split: str = "train",
        download: bool = True,
        indices: int | Sequence[int] | None = None,
        **keywords: Any,
    ) -> None:
        if split not in SPLITS:
            raise DataError(f"Imagenette has no split '{split}'{closest(split, SPLITS)}; expected train or val.")
        self.split = split
        self.download = download
        self.chosen = indices  # not mmengine's `indices`, whose number takes the first images, all of the first classes
        super().__init__(ann_file="", data_root=data_root, **keywords)

    def load_data_list(self) -> list[dict[str, Any]]:
        folder = self._folder() / self.split
        pictures = []
        for label, identifier in enumerate(CLASSES):
            paths = sorted(path for path in (folder / identifier).glob("*") if path.suffix.lower() in (".jpeg", ".jpg"))
            if not paths:
                raise DataError(f"'{folder / identifier}' has no images; expected those of Imagenette. {_remedy(Path(self.data_root))}")
            pictures += [{"img_path": str(path), "gt_label": label} for path in paths]
        chosen = self.chosen
        if isinstance(chosen, int):
            chosen = np.linspace(0, len(pictures) - 1, min(chosen, len(pictures))).round().astype(int).tolist()
        return pictures if chosen is None else [pictures[index] for index in chosen]

    def _folder(self) -> Path:
        root = Path(self.data_root).expanduser()
        if (root / self.split).is_dir():
            return root
        if not (root / FOLDER / self.split).is_dir():
            if not self.download:
                raise DataError(f"No Imagenette in '{root}'. {_remedy(root)}")
            _fetch(root)
        return root / FOLDER


def _fetch(root: Path) -> None:
    from torchvision.datasets import Imagenette as TorchvisionImagenette

    def fetch(folder: Path) -> None:
        try:
            TorchvisionImagenette(folder, split="train", size="160px", download=True)
        except (OSError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise DataError(f"No Imagenette in '{root}', and it cannot be downloaded ({reason}). {_remedy(root)}") from error
        for path in (folder / FOLDER).iterdir():
            path.rename(folder / path.name)
        (folder / FOLDER).rmdir()
        (folder / f"{FOLDER}.tgz").unlink(missing_ok=True)

    # An interrupted download must leave nothing that looks like a data set; several processes may start one at once.
    fill_folder(root / FOLDER, fetch)


def _remedy(root: Path) -> str:
    return f"Download {ARCHIVE} and unpack it into '{root}', so that '{root / FOLDER / 'train'}' exists; or give its folder as data_root."
