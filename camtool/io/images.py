"""Pictures from and to files: every common format and mode to upright uint8 RGB, within bounded memory; RGB to bytes of a format."""

import math
import os
import warnings
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from camtool.errors import ImageError, OutputError, closest, warn

Picture: TypeAlias = UInt8[np.ndarray, "h w 3"]
"""RGB, upright."""

MOST_PIXELS = 40_000_000  # kept after decoding; larger pictures are reduced: no network sees a tenth of it
MOST_DECODED = 1_000_000_000  # 4 GB while decoding: Pillow keeps RGB in four bytes a pixel
BAND = 64  # rows of the reduced picture that are converted at once
LEAST_SIDE = 2
MOST_ASPECT = 100
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")

_SETTINGS = {
    ".jpg": [cv2.IMWRITE_JPEG_QUALITY, 95],
    ".jpeg": [cv2.IMWRITE_JPEG_QUALITY, 95],
    ".png": [],
    ".bmp": [],
    ".tif": [],
    ".tiff": [],
    ".webp": [cv2.IMWRITE_WEBP_QUALITY, 95],
}
FORMATS = tuple(_SETTINGS)


def read_picture(path: Path) -> Picture:
    """Return the picture: EXIF rotation applied, transparency on white, 16-bit, CMYK, grey and palette converted.

    Above MOST_PIXELS it is reduced by a whole factor on reading.

    Raises:
        ImageError: if the file is missing, empty, truncated, no picture, or of an unusable size.
    """
    if os.path.isdir(path):  # of os.path: False, not an exception, for names that are too long and folders that are closed
        raise ImageError(f"'{path}' is a directory; expected a picture.")
    if not os.path.isfile(path):
        raise ImageError(f"No picture '{path}'{_near(path)}.")
    if path.stat().st_size == 0:
        raise ImageError(f"Picture '{path}' is empty (0 bytes).")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remark on large pictures and odd metadata; sizes are checked here
            picture, size = _read(path)
    except UnidentifiedImageError as error:
        raise ImageError(f"'{path}' is no picture; expected {', '.join(suffix[1:].upper() for suffix in SUFFIXES)}.") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise ImageError(f"Picture '{path}' cannot be read, it is truncated or damaged: {error}.") from error
    except MemoryError as error:
        raise ImageError(f"Picture '{path}' does not fit into memory; reduce it first.") from error
    if picture.shape[0] * picture.shape[1] < size[0] * size[1]:
        warn(f"Picture '{path}' is {size[0]}x{size[1]}; it is read at {picture.shape[1]}x{picture.shape[0]}, which bounds the memory.")
    return picture


def _near(path: Path) -> str:
    listed = os.path.isdir(path.parent) and os.access(path.parent, os.R_OK)
    beside = [str(found) for found in path.parent.iterdir() if found.suffix.lower() in SUFFIXES] if listed else []
    return closest(str(path), beside)


def _read(path: Path) -> tuple[Picture, tuple[int, int]]:
    """Return the picture and the (width, height) of the file."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with Image.open(path) as image:
            size = image.size
            _check_size(path, *size)
            factor = math.ceil(math.sqrt(image.width * image.height / MOST_PIXELS))
            if factor > 1:
                image.draft("RGB", (image.width // factor, image.height // factor))  # JPEG decodes at a fraction of the size
            image.load()
            factor = math.ceil(math.sqrt(image.width * image.height / MOST_PIXELS))
            rgb = _reduced(image, factor) if factor > 1 else _as_rgb(image)
            # Turned last: the copy that turning makes is then a small one.
            rgb.getexif()[ExifTags.Base.Orientation] = image.getexif().get(ExifTags.Base.Orientation, 1)
            return np.array(ImageOps.exif_transpose(rgb)), size
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _check_size(path: Path, width: int, height: int) -> None:
    size = f"Picture '{path}' is {width}x{height}"
    if min(width, height) < LEAST_SIDE:
        raise ImageError(f"{size}; expected at least {LEAST_SIDE} pixels a side.")
    if max(width, height) > MOST_ASPECT * min(width, height):
        raise ImageError(f"{size}; expected sides of at most {MOST_ASPECT} to 1. Crop it first.")
    if width * height > MOST_DECODED:
        raise ImageError(f"{size}, {width * height // 10**6} megapixels; expected at most {MOST_DECODED // 10**6}. Reduce it first.")


def _reduced(image: Image.Image, factor: int) -> Image.Image:
    if image.mode in ("I", "F"):
        return _as_rgb(image.reduce(factor))  # first, for their range is that of the whole picture
    # Band by band, for a converted copy of the whole would double the memory.
    reduced = Image.new("RGB", (-(-image.width // factor), -(-image.height // factor)))
    for top in range(0, reduced.height, BAND):
        band = image.crop((0, top * factor, image.width, min((top + BAND) * factor, image.height)))
        reduced.paste(_as_rgb(band).reduce(factor), (0, top))
    return reduced


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_to_eight_bits(np.asarray(image))).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        over = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", over.size, "white"), over).convert("RGB")
    return image.convert("RGB")


def _to_eight_bits(levels: np.ndarray) -> np.ndarray:
    # 16-bit files span 0 to 65535 by definition; floating point is taken as [0, 1], or stretched where it goes beyond.
    values: np.ndarray = np.nan_to_num(levels.astype(np.float32))
    if levels.dtype.kind == "f" and values.min() >= 0 and values.max() <= 1:
        values = values * 255
    elif levels.dtype.kind == "f" or values.min() < 0 or values.max() > 65535:
        values = (values - values.min()) * (255 / max(float(values.max() - values.min()), 1e-12))
    elif levels.dtype.itemsize == 2 or values.max() > 255:
        values = values / 257
    return (values + 0.5).astype(np.uint8)


def encode(picture: UInt8[np.ndarray, "h w 3"], suffix: str) -> bytes:
    """Return the RGB picture as the content of a file called `*suffix`; OutputError for a format that is not known."""
    check_format(suffix)
    succeeded, content = cv2.imencode(suffix.lower(), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), _SETTINGS[suffix.lower()])
    if not succeeded:
        raise OutputError(f"A picture of {picture.shape[1]}x{picture.shape[0]} cannot be written as {suffix}; choose another format.")
    return bytes(content)


def check_format(suffix: str) -> None:
    """Raise OutputError if pictures cannot be written with this suffix."""
    if suffix.lower() not in _SETTINGS:
        raise OutputError(f"Cannot write a picture as '{suffix or '(no suffix)'}'; expected {', '.join(FORMATS)}.")
