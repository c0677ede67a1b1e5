"""Load images from paths, arrays, PIL images and tensors as named RGB pictures."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from camtool.errors import ImageError
from camtool.io.images import Picture, as_picture, read_picture


@dataclass(frozen=True)
class NamedPicture:
    """A picture, uint8 RGB (h, w, 3), and its name in reports and file names."""

    picture: Picture
    name: str
    """The file's path; "image_0" without a file."""

    @property
    def file_name(self) -> str:
        """The name without folders."""
        return Path(self.name).name

    @property
    def stem(self) -> str:
        """The name without folders and suffix."""
        return Path(self.name).stem


ImageLike: TypeAlias = str | Path | np.ndarray | Image.Image | Tensor | NamedPicture
"""A file's path, an array (h, w), (h, w, 1), (h, w, 3) or (h, w, 4), a PIL image, or a tensor (c, h, w)."""


def is_several(images: Any) -> bool:
    """Return whether `images` is a sequence of images, not one."""
    return isinstance(images, Sequence) and not isinstance(images, (str, bytes))


def load_image(image: ImageLike, number: int = 0) -> NamedPicture:
    """Return an image as a named picture; without a file its name has the number: "image_0".

    Arrays and tensors are uint8, or floating point in [0, 1], in RGB.

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
        path = Path(os.path.expanduser(image))  # Path.expanduser raises for '~x.jpg', where there is no user x.jpg
        return NamedPicture(read_picture(path), str(path))
    name = f"image_{number}"
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
