"""Load images from paths, arrays, PIL images and tensors as named RGB pictures."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from camtool.apis.named import Named
from camtool.apis.picture_canvas import InputCanvas
from camtool.errors import ImageError
from camtool.io.band_files import band_files
from camtool.io.bands import Bands, checked_array, chosen_bands, read_bands, view_of
from camtool.io.images import DEFAULT, Picture, as_picture, read_picture
from camtool.io.pillow import Reading

if TYPE_CHECKING:
    from camtool.models.sources._base import Preprocess


@dataclass(frozen=True)
class NamedPicture(Named):
    """A picture, uint8 RGB (h, w, 3), and its name in reports and file names."""

    picture: Picture
    name: str
    """The file's path; "image_0" without a file."""
    bands: Bands | None = None
    """Of a network that takes other channels than RGB: what it is given. The picture is how they are looked at."""

    @property
    def content(self) -> np.ndarray:
        """What the network's preprocessing takes: the bands, else the picture."""
        return self.picture if self.bands is None else self.bands

    def facts(self) -> dict[str, Any]:
        """Return what tells where the picture's values lie, as arrays: nothing."""
        return {}

    def canvas(self, inputs: Tensor, preprocess: "Preprocess", *, original: bool = False) -> InputCanvas:
        """Return what maps are drawn on; ImageError if it is the original and the preprocessing cannot be undone."""
        return InputCanvas(self.picture, inputs, preprocess, original=original)


@dataclass(frozen=True)
class PictureFile:
    """A file's path, and how the file is read."""

    path: str | Path
    reading: Any
    """A Reading; of a volume or a signal a VolumeReading or SignalReading."""
    bands: tuple[Path, ...] = ()
    """Files of the bands, where each has one of its own; `path` is then what they are called."""


ImageLike: TypeAlias = str | Path | PictureFile | np.ndarray | Image.Image | Tensor | NamedPicture
"""A file's path, alone or with how it is read, an array (h, w), (h, w, 1), (h, w, 3) or (h, w, 4), a PIL image, or a tensor (c, h, w)."""


def is_several(images: Any) -> bool:
    """Return whether `images` is a sequence of images, not one."""
    return isinstance(images, Sequence) and not isinstance(images, (str, bytes))


def load_image(image: ImageLike, number: int = 0, reading: Reading = DEFAULT) -> NamedPicture:
    """Return an image as a named picture; without a file its name has the number: "image_0".

    Arrays and tensors are uint8, or floating point in [0, 1], in RGB; with `reading.channels` of any type and number of bands.

    Args:
        reading: how files are read; what a PictureFile says comes before it.

    Raises:
        ImageError: if the file cannot be read, or the array is not an image.

    Example:
        >>> import numpy as np
        >>> from camtool.apis.images import load_image
        >>> grey = load_image(np.full((2, 3), 0.5))
        >>> grey.name, grey.picture.shape, int(grey.picture.max())
        ('image_0', (2, 3, 3), 128)
    """
    if isinstance(image, NamedPicture):
        return image
    if isinstance(image, (str, Path)):
        image = PictureFile(image, reading)
    if isinstance(image, PictureFile):
        path = Path(os.path.expanduser(image.path))  # Path.expanduser raises for '~x.jpg', where there is no user x.jpg
        reading = image.reading.over(reading)
        if reading.channels is None:
            return NamedPicture(read_picture(path, reading), str(path))
        files = image.bands or _files_of(path, reading)
        return of_bands(read_bands(files, str(path), reading), str(path))
    name = f"image_{number}"
    if reading.channels is not None:
        values = np.asarray(image.detach().cpu().permute(1, 2, 0) if isinstance(image, Tensor) and image.ndim == 3 else image)
        return of_bands(chosen_bands(checked_array(values, name, reading), name, reading), name)
    if isinstance(image, Image.Image):
        return NamedPicture(as_picture(image), name)
    if isinstance(image, Tensor):
        if image.ndim != 3 or image.shape[0] not in (1, 3, 4):
            raise ImageError(
                f"Expected an image (c, h, w) with 1, 3 or 4 channels, got a tensor of shape {tuple(image.shape)}. Give a batch as a list "
                "of images; preprocessed inputs go to camtool.CAM."
            )
        image = image.detach().cpu()
        image = (image.float() if image.dtype in (torch.bfloat16, torch.float16) else image).permute(1, 2, 0).numpy()
    if isinstance(image, np.ndarray):
        return NamedPicture(_from_array(image), name)
    raise ImageError(f"Expected an image: a path, an array, a PIL image or a tensor, got {type(image).__name__}.")


def of_bands(bands: Bands, name: str, shown: Sequence[int] = ()) -> NamedPicture:
    """Return bands as a named picture, which shows three of them, or one; (): the first three, or the first."""
    return NamedPicture(view_of(bands, shown or range(3 if bands.shape[2] > 2 else 1)), name, bands)


def _files_of(path: Path, reading: Reading) -> tuple[Path, ...]:
    """Return the files of one picture's bands; ImageError if there are several pictures."""
    if not reading.band_names:
        return (path,)
    pictures = band_files([str(path)], reading.band_names)
    if len(pictures) > 1:
        raise ImageError(f"'{path}' has the bands of {len(pictures)} pictures; expected one: {', '.join(map(repr, pictures))}.")
    return tuple(next(iter(pictures.values())))


def _from_array(values: np.ndarray) -> Picture:
    channels = values.shape[2] if values.ndim == 3 else 1
    if values.ndim not in (2, 3) or channels not in (1, 3, 4) or 0 in values.shape:
        raise ImageError(f"Expected an image (h, w) or (h, w, c) with 1, 3 or 4 channels, got an array of shape {values.shape}.")
    if values.dtype.kind == "f":
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            raise ImageError(
                f"Expected an image in uint8, or in floating point within [0, 1]; got {values.dtype} from {values.min():.4g} to "
                f"{values.max():.4g}. Preprocessed inputs go to camtool.CAM."
            )
        values = (values * 255).round().astype(np.uint8)
    if values.dtype != np.uint8:
        raise ImageError(f"Expected an image in uint8, or in floating point within [0, 1]; got {values.dtype}.")
    return as_picture(Image.fromarray(values[..., 0] if values.ndim == 3 and channels == 1 else values))
