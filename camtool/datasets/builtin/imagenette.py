"""Imagenette, ten classes of ImageNet that are easily told apart, 160 pixels: https://github.com/fastai/imagenette."""

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
"""By WordNet id, in their order, which is the data set's own."""

SPLITS = ("train", "val")


@DATASETS.register_module()
class Imagenette(BaseDataset):  # type: ignore[misc]  # mmpretrain has no types
    """The pictures below `data_root/imagenette2-160`, downloaded by torchvision where they are not there.

    Args:
        data_root: the folder that holds `imagenette2-160`, or that folder.
        split: "train" or "val".
        download: fetch what is not there.
        indices: a list, or how many, which are then spread evenly over the split: each class keeps its share.
        keywords: those of mmpretrain's data sets: `pipeline`, …

    Raises:
        DataError: if it is not there and cannot be fetched, or is not whole; it says what to fetch and where to put it.
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
        self.chosen = indices  # not mmengine's `indices`: a number would be of the first pictures, which are of the first classes
        super().__init__(ann_file="", data_root=data_root, **keywords)

    def load_data_list(self) -> list[dict[str, Any]]:
        folder = self._folder() / self.split
        pictures = []
        for label, identifier in enumerate(CLASSES):
            found = sorted(path for path in (folder / identifier).glob("*") if path.suffix.lower() in (".jpeg", ".jpg"))
            if not found:
                raise DataError(f"'{folder / identifier}' has no pictures; expected Imagenette's. {_remedy(Path(self.data_root))}")
            pictures += [{"img_path": str(path), "gt_label": label} for path in found]
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
                raise DataError(f"No Imagenette below '{root}'. {_remedy(root)}")
            _fetch(root)
        return root / FOLDER


def _fetch(root: Path) -> None:
    from torchvision.datasets import Imagenette as Torchvisions

    def fetch(folder: Path) -> None:
        try:
            Torchvisions(folder, split="train", size="160px", download=True)
        except (OSError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise DataError(f"No Imagenette below '{root}', and it cannot be downloaded ({reason}). {_remedy(root)}") from error
        for path in (folder / FOLDER).iterdir():
            path.rename(folder / path.name)
        (folder / FOLDER).rmdir()
        (folder / f"{FOLDER}.tgz").unlink(missing_ok=True)

    # A download that is broken off leaves nothing that looks like a data set; several processes may begin one at once.
    fill_folder(root / FOLDER, fetch)


def _remedy(root: Path) -> str:
    return f"Fetch {ARCHIVE} and unpack it into '{root}', so that '{root / FOLDER / 'train'}' is there; or name its folder by data_root."
