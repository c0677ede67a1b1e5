"""Image files: decode any common format and mode to upright uint8 RGB in bounded memory, encode RGB to the bytes of a format."""

import io
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
"""An RGB image, upright."""

MOST_PIXELS = 40_000_000  # kept after decoding; larger images are reduced, since networks take less than a tenth of it
MOST_DECODED = 1_000_000_000  # 4 GB while decoding: Pillow stores RGB in four bytes a pixel
BAND = 64  # rows of the reduced image that are converted at once
LEAST_SIDE = 2
MOST_ASPECT = 100
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")

_ENCODING = {
    ".jpg": [cv2.IMWRITE_JPEG_QUALITY, 95],
    ".jpeg": [cv2.IMWRITE_JPEG_QUALITY, 95],
    ".png": [],
    ".bmp": [],
    ".tif": [],
    ".tiff": [],
    ".webp": [cv2.IMWRITE_WEBP_QUALITY, 95],
}
FORMATS = tuple(_ENCODING)


def read_picture(path: Path) -> Picture:
    """Return the image of a file as RGB uint8 (h, w, 3).

    The EXIF rotation is applied, transparency is laid over white; 16-bit, CMYK, grey and palette images are converted. An image of
    more than MOST_PIXELS is reduced by a whole factor, with a warning.

    Raises:
        ImageError: if the file is missing, empty, truncated, not an image, or of an unsupported size.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import numpy as np
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "grey.png"
        ...     _ = path.write_bytes(encode(np.full((4, 6, 3), 128, dtype=np.uint8), ".png"))
        ...     picture = read_picture(path)
        >>> picture.shape, picture.dtype, int(picture.max())
        ((4, 6, 3), dtype('uint8'), 128)
    """
    if os.path.isdir(path):  # os.path, unlike Path, returns False for names that are too long and folders without permission
        raise ImageError(f"'{path}' is a directory; expected an image file.")
    if not os.path.isfile(path):
        raise ImageError(f"No picture '{path}'{_near(path)}.")
    if path.stat().st_size == 0:
        raise ImageError(f"Picture '{path}' is empty (0 bytes); expected an image file.")
    return _decoded(path, str(path))


def decode_picture(content: bytes, name: str) -> Picture:
    """Return the picture that a file's content is, as `read_picture` does; `name` is what it is called in messages.

    Raises:
        ImageError: if it is empty, truncated, no picture, or of an unusable size.
    """
    if not content:
        raise ImageError(f"Picture '{name}' is empty (0 bytes); expected an image file.")
    return _decoded(io.BytesIO(content), name)


def as_picture(image: Image.Image) -> Picture:
    """Return a PIL image as `read_picture` returns a file's; ImageError if its size is unusable."""
    _check_size("image", *image.size)
    image.load()
    rgb = _as_rgb(image)
    rgb.getexif()[ExifTags.Base.Orientation] = image.getexif().get(ExifTags.Base.Orientation, 1)
    return np.array(ImageOps.exif_transpose(rgb))


def _decoded(file: "Path | io.BytesIO", path: str) -> Picture:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, on large images and odd metadata; sizes are checked here
            picture, size = _read(file, path)
    except UnidentifiedImageError as error:
        raise ImageError(f"'{path}' is not an image; expected {', '.join(suffix[1:].upper() for suffix in SUFFIXES)}.") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise ImageError(f"Picture '{path}' cannot be read; the file is truncated or damaged: {error}.") from error
    except MemoryError as error:
        raise ImageError(f"Picture '{path}' does not fit into memory; resize the file first.") from error
    if picture.shape[0] * picture.shape[1] < size[0] * size[1]:
        warn(f"Picture '{path}' is {size[0]}x{size[1]}; it is read at {picture.shape[1]}x{picture.shape[0]} to bound the memory.")
    return picture


def _near(path: Path) -> str:
    readable = os.path.isdir(path.parent) and os.access(path.parent, os.R_OK)
    images = [str(file) for file in path.parent.iterdir() if file.suffix.lower() in SUFFIXES] if readable else []
    return closest(str(path), images)


def _read(file: "Path | io.BytesIO", path: str) -> tuple[Picture, tuple[int, int]]:
    """Return the image and the (width, height) that the file states."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with Image.open(file) as image:
            size = image.size
            _check_size(path, *size)
            factor = math.ceil(math.sqrt(image.width * image.height / MOST_PIXELS))
            if factor > 1:
                image.draft("RGB", (image.width // factor, image.height // factor))  # JPEG decodes at a fraction of the size
            image.load()
            factor = math.ceil(math.sqrt(image.width * image.height / MOST_PIXELS))
            rgb = _reduced(image, factor) if factor > 1 else _as_rgb(image)
            # Rotated last: the copy that rotating makes is then a small one.
            rgb.getexif()[ExifTags.Base.Orientation] = image.getexif().get(ExifTags.Base.Orientation, 1)
            return np.array(ImageOps.exif_transpose(rgb)), size
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _check_size(path: str, width: int, height: int) -> None:
    size = f"Picture '{path}' is {width}x{height}"
    if min(width, height) < LEAST_SIDE:
        raise ImageError(f"{size}; expected at least {LEAST_SIDE} pixels on each side.")
    if max(width, height) > MOST_ASPECT * min(width, height):
        raise ImageError(f"{size}; expected an aspect ratio of at most {MOST_ASPECT} to 1. Crop it first.")
    if width * height > MOST_DECODED:
        raise ImageError(f"{size}, {width * height // 10**6} megapixels; expected at most {MOST_DECODED // 10**6}. Resize it first.")


def _reduced(image: Image.Image, factor: int) -> Image.Image:
    if image.mode in ("I", "F"):
        return _as_rgb(image.reduce(factor))  # before the conversion, whose range is that of the whole image
    # Band by band, since a converted copy of the whole image would double the memory.
    reduced = Image.new("RGB", (-(-image.width // factor), -(-image.height // factor)))
    for top in range(0, reduced.height, BAND):
        band = image.crop((0, top * factor, image.width, min((top + BAND) * factor, image.height)))
        reduced.paste(_as_rgb(band).reduce(factor), (0, top))
    return reduced


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_to_eight_bits(np.asarray(image))).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        foreground = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", foreground.size, "white"), foreground).convert("RGB")
    return image.convert("RGB")


def _to_eight_bits(levels: np.ndarray) -> np.ndarray:
    # 16-bit files span 0 to 65535 by definition; floating point is taken as [0, 1], or its range is stretched to [0, 255].
    values: np.ndarray = np.nan_to_num(levels.astype(np.float32))
    if levels.dtype.kind == "f" and values.min() >= 0 and values.max() <= 1:
        values = values * 255
    elif levels.dtype.kind == "f" or values.min() < 0 or values.max() > 65535:
        values = (values - values.min()) * (255 / max(float(values.max() - values.min()), 1e-12))
    elif levels.dtype.itemsize == 2 or values.max() > 255:
        values = values / 257
    return (values + 0.5).astype(np.uint8)


def encode(picture: UInt8[np.ndarray, "h w 3"], suffix: str) -> bytes:
    """Return the RGB image as the bytes of a file with this suffix (".png").

    Raises:
        OutputError: if the suffix is not one of FORMATS, or the format cannot hold an image of this size.

    Example:
        >>> import numpy as np
        >>> encode(np.zeros((2, 2, 3), dtype=np.uint8), ".png")[:4]
        b'\\x89PNG'
    """
    check_format(suffix)
    succeeded, content = cv2.imencode(suffix.lower(), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), _ENCODING[suffix.lower()])
    if not succeeded:
        raise OutputError(f"An image of {picture.shape[1]}x{picture.shape[0]} cannot be written as {suffix}; choose another format.")
    return bytes(content)


def check_format(suffix: str) -> None:
    """Raise OutputError if images cannot be written with this suffix."""
    if suffix.lower() not in _ENCODING:
        raise OutputError(f"Cannot write an image as '{suffix or '(no suffix)'}'; expected {', '.join(FORMATS)}.")
