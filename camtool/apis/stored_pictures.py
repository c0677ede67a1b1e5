"""Pictures of a store's rows: samples of any kind, read again from the data set's folder, under the map where its cells lie."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from camtool.apis.canvas import Canvas
from camtool.apis.model import ModelRequest
from camtool.apis.stages import Stage, stage_for
from camtool.apis.subjects import load_subject
from camtool.errors import DataError, ImageError
from camtool.functional import min_max
from camtool.fusion import shown
from camtool.io.digests import digest_of_path
from camtool.io.volumes.dicom import is_dicom_folder
from camtool.models.loading import load_input
from camtool.models.sources.by_kind import AnyReading, NetworkInput
from camtool.store import MapRow, Store
from camtool.store.schema import INFORMED, OK
from camtool.visualization.captioned_sheet import CaptionedPicture
from camtool.visualization.figures import Cell, Style
from camtool.visualization.overlay import DEFAULT_COLORMAP, DEFAULT_OPACITY


@dataclass(frozen=True)
class StoredPicture:
    """A row's sample and its map on it, pixel by pixel, voxel by voxel or sample by sample."""

    canvas: Canvas
    """What the map is drawn on."""
    saliency: Float[np.ndarray, "*spatial"]
    """In [0, 1], scaled as that of `camtool vis`, aligned with the canvas; NaN outside the network's input."""
    remark: str = ""
    """What the reader of a figure should know; "" for nothing."""

    def overlay(
        self, colormap: str = DEFAULT_COLORMAP, opacity: float = DEFAULT_OPACITY, captions: tuple[str, str] = ("", "")
    ) -> UInt8[np.ndarray, "H W 3"]:
        """Return the figure of the map: a picture under it, slices of a volume, a signal over time.

        Args:
            captions: title and subtitle, which a plain picture has no room for.
        """
        return self.canvas.figure([[Cell(self.saliency, *captions)]], Style(colormap=colormap, opacity=opacity))

    def tile(self, captions: tuple[str, ...], remark: str = "", colormap: str = DEFAULT_COLORMAP) -> CaptionedPicture:
        """Return the map as a part of a sheet.

        Args:
            captions: lines below it.
            remark: in red below them; "": that of the map.
        """
        return self.canvas.tile(Cell(self.saliency, "", ""), Style(colormap=colormap), captions, remark or self.remark)

    def aligned(self) -> dict[str, bytes]:
        """Return the files of the map that open over the sample in a viewer, by suffix; {} where there are none."""
        return self.canvas.aligned(Cell(self.saliency, "", ""))


class StoredPictures:
    """Reads the samples of a store's rows again, and lays their maps over them.

    Args:
        store: with the folder of the samples, and what the run said of them.
        samples: how the network sees samples, which are read as the run said; None: as the run said, else by the number of a map's axes.
        original: draw on whole pictures, not on the part that the network saw; volumes and signals are always whole.
        root: folder of the samples; None: that of the run. With one, files may differ from those that were explained.
        guess: where nothing says which part of a picture was seen, take all of it, with a warning; else it is refused.
    """

    def __init__(
        self,
        store: Store,
        samples: NetworkInput | None = None,
        *,
        original: bool = False,
        root: str | Path | None = None,
        guess: bool = True,
    ) -> None:
        self.store, self.original = store, original
        self._root, self._guess = root, guess
        description = store.run.get("input")
        own = NetworkInput.described(description) if isinstance(description, dict) else None
        self._samples = own if samples is None else samples.read_as(description)
        self._stages: dict[int, tuple[AnyReading, Stage]] = {}

    @classmethod
    def of(cls, store: Store, config: str = "", **options: Any) -> "StoredPictures":
        """Return the reader for a store, with the reading and preprocessing of a config if one is named.

        What a store says of its samples is read as data; a config that it names is not followed: configs are programs, and a store may
        come from anywhere.

        Args:
            options: `original`, `root`, `guess`.

        Raises:
            ConfigError: if the config cannot be read, or its preprocessing not be built.
            DataError: if the store's description of its samples is damaged.
        """
        samples = load_input(ModelRequest(os.path.expanduser(config)).read_config()) if config else None
        return cls(store, samples, **options)

    def read(self, row: MapRow) -> StoredPicture:
        """Return a row's sample and map.

        Raises:
            ImageError: if the sample is gone, cannot be read, or is not the one that was explained.
            DataError: if the row has no map, or one that does not fit the sample.
        """
        size = row.input_size
        if row.map is None or size is None:
            raise DataError(f"'{row['path']}' has no map: {row['status']}.")
        reading, stage = self._stage(len(size))
        subject = load_subject(stored_file(self.store, row, self._root), 0, reading)
        return StoredPicture(*stage.laid(row, subject, scaled_map(row).numpy()))

    def _stage(self, rank: int) -> tuple[AnyReading, Stage]:
        """Return how samples are read, and what maps of this number of axes are laid on."""
        if rank not in self._stages:
            samples = self._samples or NetworkInput.of_rank(rank)
            self._stages[rank] = samples.reading, stage_for(samples, original=self.original, guess=self._guess)
        return self._stages[rank]


def stored_file(store: Store, row: MapRow, root: str | Path | None = None) -> Path:
    """Return the file, or the DICOM folder, of a row; ImageError if there is none, or another one.

    Args:
        root: folder of the samples, whatever is in their files; None: that of the run, and files must be those that were explained.
    """
    folder = store.run.get("root") if root is None else os.path.expanduser(root)
    if not isinstance(folder, str):
        raise ImageError(f"'{row['path']}' is no file: the run's data set had no folder.")
    path = Path(folder, row["path"])
    if not _is_file(path):  # nor a device or a pipe, which might never end
        raise ImageError(f"No file '{path}'.")
    if root is not None:
        return path
    try:
        digest = digest_of_path(path)
    except OSError as error:
        raise ImageError(f"'{path}' cannot be read: {error.strerror}.") from error
    if row["digest"] not in (None, digest):
        raise ImageError(f"'{path}' is not what was explained: its checksum is another one.")
    return path


def _is_file(path: Path) -> bool:
    try:
        return os.path.isfile(path) or is_dicom_folder(path)
    except ValueError:  # a name with a NUL
        return False


def scaled_map(row: MapRow) -> Float[Tensor, "*size"]:
    """Return a row's map at the input's size, positive part, in [0, 1]; zeros without positive evidence.

    Raises:
        DataError: if the row has no map.

    Example:
        >>> import torch
        >>> from camtool.store import MapRow
        >>> scaled_map(MapRow({"placement": [2.0, 0.5], "status": "ok"}, torch.tensor([-1.0, 3.0])))
        tensor([0.0000, 0.2500, 0.7500, 1.0000])
    """
    place, size = row.placement, row.input_size
    if row.map is None or place is None or size is None:
        raise DataError(f"'{row.values.get('path')}' has no map: {row.values.get('status')}.")
    if row["status"] != OK and row["status"] in INFORMED:
        return torch.zeros(size, device="cpu")
    return min_max(shown(row.map[None].clamp(min=0), size, place))[0]


def captions_of(row: MapRow, names: list[str] | None) -> tuple[str, ...]:
    """Return the lines below a row's picture: path, label, predicted class and probability, method and layer.

    Example:
        >>> values = {"path": "a/1.png", "label": 0, "predicted": 1, "target": 1, "probability": 0.934, "method": "gradcam", "layer": "f"}
        >>> captions_of(MapRow(values, None), ["cat", "dog"])
        ('a/1.png', 'label: cat (0)', 'predicted: dog (1), 93.4 %', 'gradcam at f')
    """
    probability = row["probability"]
    share = "" if probability is None else f"{100 * probability:.1f} %"
    lines = [row["path"], f"label: {class_name(row['label'], names)}"]
    if row["target"] is None or row["target"] == row["predicted"]:
        lines.append(", ".join(filter(None, (f"predicted: {class_name(row['predicted'], names)}", share))))
    else:  # the probability is that of the target
        lines += [
            f"predicted: {class_name(row['predicted'], names)}",
            ", ".join(filter(None, (f"target: {class_name(row['target'], names)}", share))),
        ]
    return (*lines, f"{row['method']} at {row['layer']}" if row["layer"] else row["method"])


def class_name(index: int | None, names: list[str] | None) -> str:
    """Return a class's name and index; "?" where it is not known."""
    if index is None:
        return "?"
    return f"{names[index]} ({index})" if names and 0 <= index < len(names) else str(index)


def class_names(store: Store) -> list[str] | None:
    """Return the class names of a store's run; None if it has none."""
    names = store.run.get("class_names")
    return [str(name) for name in names] if isinstance(names, list) and names else None
