"""Pictures of a store's rows: read again from the data set's folder, with the map where its cells lie."""

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from camtool.apis.images import load_image
from camtool.apis.model import ModelRequest
from camtool.errors import DataError, ImageError, times, warn
from camtool.functional import min_max
from camtool.fusion import shown
from camtool.io.images import Picture
from camtool.io.pillow import Reading
from camtool.models.loading import load_preprocessing
from camtool.models.sources._base import Preprocess
from camtool.models.sources.preprocessing import BandPreprocess, reading_of
from camtool.store import MapRow, Store
from camtool.store.schema import INFORMED, OK
from camtool.visualization.inverse_preprocessing import Geometry, measure_geometry, stretched
from camtool.visualization.overlay import DEFAULT_COLORMAP, DEFAULT_OPACITY, overlay


@dataclass(frozen=True)
class StoredPicture:
    """A row's picture and its map, pixel by pixel."""

    picture: Picture
    saliency: Float[np.ndarray, "h w"]
    """In [0, 1], scaled as that of `camtool vis`; NaN outside the network's input."""
    remark: str = ""
    """What the reader of a figure should know; "" for nothing."""

    def overlay(self, colormap: str = DEFAULT_COLORMAP, opacity: float = DEFAULT_OPACITY) -> UInt8[np.ndarray, "h w 3"]:
        """Return the picture under the coloured map."""
        return overlay(self.picture, self.saliency, colormap, opacity)


@dataclass
class StoredPictures:
    """Reads the pictures of a store's rows.

    Where the network's input lies on a picture is what the row says, else what a config's preprocessing does; of neither, the whole
    picture is taken, with a warning.
    """

    store: Store
    preprocess: Preprocess | None = None
    """The network's preprocessing; None: the rows say where the input lies."""
    original: bool = False
    """Give the whole picture, not the part that the network saw."""
    reading: Reading = field(default_factory=Reading)
    """How files are read."""

    def __post_init__(self) -> None:
        self._geometries: dict[tuple[int, int], Geometry] = {}  # by (height, width): a data set has few
        self._warned = False

    @classmethod
    def of(cls, store: Store, config: str = "", *, original: bool = False) -> "StoredPictures":
        """Return the reader for a store, with the preprocessing of a config if one is named.

        A store's own words about its config are not followed: configs are programs, and a store may come from anywhere.

        Raises:
            ConfigError: if the config cannot be read, or its preprocessing not be built.
        """
        if not config:
            return cls(store, original=original)
        loaded = ModelRequest(os.path.expanduser(config)).read_config()
        return cls(store, load_preprocessing(loaded), original, reading_of(loaded))

    def read(self, row: MapRow) -> StoredPicture:
        """Return a row's picture and map.

        Raises:
            ImageError: if the picture is gone, cannot be read, or is not the one that was explained.
            DataError: if the row has no map, or not one of two axes.
        """
        size = row.input_size
        if row.map is None or size is None:
            raise DataError(f"'{row['path']}' has no map: {row['status']}.")
        if len(size) != 2:
            raise DataError(f"'{row['path']}' has a map of {times(row.map.shape)}; expected two axes, as those of a picture.")
        named = load_image(stored_file(self.store, row), reading=self.reading)
        geometry = self._geometry(row, named.picture, (size[0], size[1]))
        saliency = scaled_map(row).numpy()
        known = row.values.get("geometry") or self.preprocess is not None
        remark = "" if known or named.picture.shape[:2] == size else "what was cropped is not known"
        if self.original:
            return StoredPicture(named.picture, geometry.to_original(saliency), remark)
        return StoredPicture(geometry.seen_part(named.picture), saliency, remark)

    def _geometry(self, row: MapRow, picture: Picture, seen_size: tuple[int, int]) -> Geometry:
        height, width = picture.shape[:2]
        stored = row.values.get("geometry")
        if stored:
            return Geometry(np.array(stored, dtype=np.float64).reshape(2, 3), seen_size, (height, width))
        if self.preprocess is None:
            if not self._warned and (height, width) != seen_size:
                warn("The store does not say which part of a picture the network saw; maps lie over whole pictures. Give --config CONFIG.")
                self._warned = True
            return stretched(seen_size, (height, width))
        if (height, width) not in self._geometries:
            of_picture = self.preprocess.of_picture if isinstance(self.preprocess, BandPreprocess) else self.preprocess
            measured = measure_geometry(picture, of_picture)
            if measured.seen_size != seen_size:
                raise DataError(
                    f"The config's network sees {times(measured.seen_size)} pixels, the maps are of {times(seen_size)}; expected the "
                    "config of the run."
                )
            self._geometries[height, width] = measured
        return self._geometries[height, width]


def stored_file(store: Store, row: MapRow) -> Path:
    """Return the file of a row; ImageError if there is none, or another one."""
    root = store.run.get("root")
    if not isinstance(root, str):
        raise ImageError(f"'{row['path']}' is no file: the run's data set had no folder.")
    path = Path(root, row["path"])
    if not _is_file(path):  # nor a device or a pipe, which might never end
        raise ImageError(f"No picture '{path}'.")
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ImageError(f"Picture '{path}' cannot be read: {error.strerror}.") from error
    if row["digest"] not in (None, digest):
        raise ImageError(f"'{path}' is not the picture that was explained: its checksum is another one.")
    return path


def _is_file(path: Path) -> bool:
    try:
        return os.path.isfile(path)
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
