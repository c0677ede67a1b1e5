"""Image files: decode any common format and mode to upright uint8 RGB in bounded memory, encode RGB to the bytes of a format."""

import io
import os
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from camtool.errors import ImageError, OutputError, closest, warn
from camtool.io.bands import all_bands, several_frames
from camtool.io.names import in_place_of
from camtool.io.pages import PAGES
from camtool.io.pillow import READ, Reading, bytes_to_decode, check_bytes, check_frame, check_size, decode, opened, reduction

DEFAULT = Reading()

Picture: TypeAlias = UInt8[np.ndarray, "h w 3"]
"""An RGB image, upright."""

BAND = 64  # rows of the reduced image that are converted at once
_FEWER_BITS = (8, 10, 12, 14)  # of detectors whose values are stored in 16
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif")

_ENCODING = {
    ".jpg": [cv2.IMWRITE_JPEG_QUALITY, 95],
    ".jpeg": [cv2.IMWRITE_JPEG_QUALITY, 95],
    ".png": [],
    ".bmp": [],
    ".tif": [],
    ".tiff": [],
    ".webp": [cv2.IMWRITE_WEBP_QUALITY, 95],
}
FORMATS = (*_ENCODING, *PAGES)


def read_picture(path: Path, reading: Reading = DEFAULT) -> Picture:
    """Return the image of a file as RGB uint8 (h, w, 3).

    The EXIF rotation is applied, transparency is laid over white; 16-bit, CMYK, grey and palette images are converted. An image of
    more than 40 million pixels is reduced by a whole factor, with a warning.

    Raises:
        ImageError: if the file is missing, empty, truncated, of no format in READ, or of an unsupported size.

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
    return _decoded(path, str(path), reading)


def decode_picture(content: bytes, name: str, reading: Reading = DEFAULT) -> Picture:
    """Return the picture that a file's content is, as `read_picture` does; `name` is what it is called in messages.

    Raises:
        ImageError: if it is empty, truncated, no picture, or of an unusable size.
    """
    if not content:
        raise ImageError(f"Picture '{name}' is empty (0 bytes); expected an image file.")
    check_bytes(name, None, len(content))
    return _decoded(io.BytesIO(content), name, reading)


def as_picture(image: Image.Image) -> Picture:
    """Return a PIL image as `read_picture` returns a file's.

    Raises:
        ImageError: if its size is unusable, or it is a file of a format that is not read here and not decoded yet.
    """
    check_size("image", *image.size)
    if getattr(image, "tile", None) and image.format not in (*READ, "MPO"):  # MPO: a JPEG with a preview
        raise ImageError(
            f"The image is an opened file of the format {image.format}, which may start other programs; call its load() first."
        )
    image.load()
    rgb = _as_rgb(image)
    rgb.getexif()[ExifTags.Base.Orientation] = image.getexif().get(ExifTags.Base.Orientation, 1)
    return np.array(ImageOps.exif_transpose(rgb))


def _decoded(file: Path | io.BytesIO, path: str, reading: Reading) -> Picture:
    remarks: list[str] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, on large images and odd metadata; sizes are checked here
            picture, size = _read(file, path, reading, remarks)
    except UnidentifiedImageError as error:
        values = all_bands(file, path, reading)
        if values is None:
            raise ImageError(f"'{path}' is not an image; expected {', '.join(suffix[1:].upper() for suffix in SUFFIXES)}.") from error
        picture = _of_bands(values, path, reading)
        size = picture.shape[1], picture.shape[0]
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise ImageError(f"Picture '{path}' cannot be read; the file is truncated or damaged: {str(error).rstrip('.')}.") from error
    except MemoryError as error:
        raise ImageError(f"Picture '{path}' does not fit into memory; resize the file first.") from error
    for remark in remarks:
        warn(remark)
    if picture.shape[0] * picture.shape[1] < size[0] * size[1]:
        warn(f"Picture '{path}' is {size[0]}x{size[1]}; it is read at {picture.shape[1]}x{picture.shape[0]} to bound the memory.")
    return picture


def _of_bands(values: np.ndarray, path: str, reading: Reading) -> Picture:
    """Return the values (h, w, bands) of a file that Pillow does not know as a picture; ImageError if it is not grey or RGB."""
    bands = values.shape[2]
    if bands not in (1, 3):
        raise ImageError(
            f"Picture '{path}' has {bands} bands; expected 1 or 3, or a config that chooses those its network takes, by "
            f"preprocess=dict(channels={list(range(bands))}) in its model."
        )
    levels = _to_eight_bits(values, reading.value_range)
    return np.repeat(levels, 3, axis=2) if bands == 1 else np.ascontiguousarray(levels)


def _near(path: Path) -> str:
    readable = os.path.isdir(path.parent) and os.access(path.parent, os.R_OK)
    images = [str(file) for file in path.parent.iterdir() if file.suffix.lower() in SUFFIXES] if readable else []
    return closest(str(path), images)


def _read(file: Path | io.BytesIO, path: str, reading: Reading, remarks: list[str]) -> tuple[Picture, tuple[int, int]]:
    """Return the image and the (width, height) that the file states; append remarks on what of it is not read as it may be meant."""
    with opened(file, path, reading) as (image, stated):
        size = stated
        frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)  # MPO: the others are previews
        check_frame(path, frames, reading.frame)
        if reading.frame:
            image.seek(reading.frame)
            size = image.size
            check_size(path, *size, reading.max_pixels)
            check_bytes(path, size, bytes_to_decode(image, size))
        elif frames > 1 and reading.frame is None:
            remarks.append(several_frames(path, frames))
        # Of colour in 16 bits Pillow keeps the upper 8.
        halved = ";16" in str(getattr(image, "tile", "")) and len(image.getbands()) > 1
        if halved and reading.value_range is not None:
            raise ImageError(f"Picture '{path}' is colour of 16 bits, of which 8 are read; value_range takes 8 bits, or 16 bits in grey.")
        decode(image)
        if reading.value_range is None:
            remarks += _darkness(image, path, halved=halved)
        if image.format == "TIFF" and "A" in image.getbands():
            bands = len(image.getbands())
            remarks.append(
                f"The last of {bands} bands of '{path}' is read as opacity, as the file says, and laid over white. If it is data, such as "
                "infrared, give the model of a network that takes it "
                f"preprocess=dict(channels={list(range(bands))}), or save the picture without it."
            )
        factor = reduction(image)
        rgb = _reduced(image, factor, reading.value_range) if factor > 1 else _as_rgb(image, reading.value_range)
        # Rotated last: the copy that rotating makes is then a small one.
        rgb.getexif()[ExifTags.Base.Orientation] = image.getexif().get(ExifTags.Base.Orientation, 1)
        return np.array(ImageOps.exif_transpose(rgb)), size


def _darkness(image: Image.Image, path: str, *, halved: bool) -> list[str]:
    """Return a remark if the values of a picture of 16 bits have so few bits that a network sees it almost black, else []."""
    if not halved and not image.mode.startswith("I"):
        return []
    extrema = np.asarray(image.getextrema(), dtype=float)
    low, high = int(extrema.min()), int(extrema.max())
    low, high = (256 * low, 256 * high + 255) if halved and high else (low, high)
    bits = next((bits for bits in _FEWER_BITS if high < 2**bits), None)
    if bits is None or high == 0 or low < 0 or (image.mode == "I" and high < 256):  # 8-bit levels, which are read as such
        return []
    remedy = "Save it with 8 bits." if halved else f"If it has {bits} bits, read it by --value-range 0 {2**bits - 1}."
    return [f"Picture '{path}' holds no value above {high}, but is read as 0 to 65535: it is dark to the network. {remedy}"]


def _reduced(image: Image.Image, factor: int, value_range: tuple[float, float] | None) -> Image.Image:
    if image.mode in ("I", "F"):
        return _as_rgb(image.reduce(factor), value_range)  # before the conversion, whose range is that of the whole image
    # Band by band, since a converted copy of the whole image would double the memory.
    reduced = Image.new("RGB", (-(-image.width // factor), -(-image.height // factor)))
    for top in range(0, reduced.height, BAND):
        band = image.crop((0, top * factor, image.width, min((top + BAND) * factor, image.height)))
        reduced.paste(_as_rgb(band, value_range).reduce(factor), (0, top))
    return reduced


def _as_rgb(image: Image.Image, value_range: tuple[float, float] | None = None) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_to_eight_bits(np.asarray(image), value_range)).convert("RGB")
    if value_range is not None:
        rgb = _as_rgb(image)
        return rgb.point(_to_eight_bits(np.arange(256), value_range).tolist() * 3)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        foreground = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", foreground.size, "white"), foreground).convert("RGB")
    return image.convert("RGB")


def _to_eight_bits(levels: np.ndarray, value_range: tuple[float, float] | None) -> np.ndarray:
    # Without a range, 16-bit files span 0 to 65535 by definition; floating point is taken as [0, 1], or its range is stretched to [0, 255].
    values: np.ndarray = np.nan_to_num(levels.astype(np.float32))
    if value_range is not None:
        low, high = value_range
        values = ((values - low) / (high - low)).clip(0, 1) * 255
    elif levels.dtype.kind == "f" and values.min() >= 0 and values.max() <= 1:
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
    if suffix.lower() in PAGES:
        return PAGES[suffix.lower()](picture)
    succeeded, content = cv2.imencode(suffix.lower(), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), _ENCODING[suffix.lower()])
    if not succeeded:
        raise OutputError(f"An image of {picture.shape[1]}x{picture.shape[0]} cannot be written as {suffix}; choose another format.")
    return bytes(content)


def check_format(suffix: str, formats: Collection[str] = FORMATS) -> None:
    """Raise OutputError if a file's suffix is none of those that can be written."""
    if suffix.lower() not in formats:
        raise OutputError(
            f"Cannot write an image as '{suffix or '(no suffix)'}'; expected {', '.join(formats)}{in_place_of(suffix, formats)}."
        )
