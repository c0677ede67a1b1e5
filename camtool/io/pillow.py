"""Pillow's files, opened by a list of formats and measured before anything of them is decoded."""

import io
import logging
import math
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from camtool.errors import ImageError

# No other is opened: Pillow starts Ghostscript for EPS, whatever the file's suffix, and opens what lies in IPTC by all of its formats.
READ = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
MOST_PIXELS = 250_000_000  # of a file; more are read where they are asked for
MOST_BYTES = 2_000_000_000  # while decoding
KEPT_PIXELS = 40_000_000  # after decoding; larger images are reduced, since networks take less than a tenth of it
LEAST_SIDE = 2
MOST_ASPECT = 100

_BYTES_KEPT = 8  # a pixel of the reduced image, while it is converted
_STORED = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}  # bytes a pixel; 4 in every other mode
_BITS, _TILE_WIDTH, _TILE_HEIGHT = 258, 322, 323  # tags of TIFF

_limit = threading.Lock()  # Pillow's limit and its logger are globals


@dataclass(frozen=True)
class Reading:
    """How files are read.

    Args:
        max_pixels: most pixels of a file, width times height. However many are allowed, decoding never takes more than MOST_BYTES.
        value_range: values of the file that are black and white; those outside are clipped. None: all that its type can hold, for
            floating point 0 to 1 or, if there are others, the lowest to the highest value.
        channels: bands of a picture that is not red, green and blue: numbers of a file's bands, counted from 0, or names of the files
            that have a band each. None: a picture is red, green and blue.
        frame: of a file with several frames or pages, counted from 0. None: the first, with a remark.

    Raises:
        ImageError: if a value is invalid.
    """

    max_pixels: int = MOST_PIXELS
    value_range: tuple[float, float] | None = None
    channels: tuple[int | str, ...] | None = None
    frame: int | None = None

    def __post_init__(self) -> None:
        if type(self.max_pixels) is not int or self.max_pixels < LEAST_SIDE**2:
            raise ImageError(f"Expected max_pixels as a number of pixels, at least {LEAST_SIDE**2}, got {self.max_pixels!r}.")
        if self.value_range is not None and not _is_range(self.value_range):
            raise ImageError(f"Expected value_range as the lowest and the highest value, such as (0, 4095), got {self.value_range!r}.")
        if self.frame is not None and (type(self.frame) is not int or self.frame < 0):
            raise ImageError(f"Expected frame as the number of a frame or page, counted from 0, got {self.frame!r}.")
        kinds = {type(channel) for channel in self.channels or ()}
        if self.channels is not None and (kinds not in ({int}, {str}) or any(isinstance(c, int) and c < 0 for c in self.channels)):
            raise ImageError(f"Expected channels as numbers of bands from 0, or names of files, got {self.channels!r}.")

    @property
    def band_names(self) -> tuple[str, ...]:
        """The names of the files that have a band each; () if a file has all bands."""
        return tuple(channel for channel in self.channels or () if isinstance(channel, str))

    def over(self, other: "Reading") -> "Reading":
        """Return these settings, and those of the other one where these are not given."""
        return Reading(
            self.max_pixels if self.max_pixels != MOST_PIXELS else other.max_pixels,
            self.value_range or other.value_range,
            self.channels or other.channels,
            other.frame if self.frame is None else self.frame,
        )


def _is_range(values: object) -> bool:
    numbers = values if isinstance(values, (tuple, list)) and all(type(value) in (int, float) for value in values) else ()
    return len(numbers) == 2 and -math.inf < numbers[0] < numbers[1] < math.inf


@contextmanager
def opened(file: Path | io.BytesIO, name: str, reading: Reading) -> Iterator[tuple[Image.Image, tuple[int, int]]]:
    """Open a picture; give the image, to be decoded at about KEPT_PIXELS where its format can do that, and the file's (width, height).

    Args:
        name: what the file is called in messages.

    Raises:
        ImageError: if its size is unusable, or decoding it takes too much memory; nothing was decoded then.
        PIL.UnidentifiedImageError: if it is of no format in READ.
    """
    if isinstance(file, Path) and file.stat().st_size > MOST_BYTES:  # before opening, which reads all of a WebP
        with file.open("rb") as content:
            if content.read(12)[8:] == b"WEBP":
                check_bytes(name, None, file.stat().st_size)
    with open_of_any_size(file) as image:
        check_size(name, *image.size, reading.max_pixels)
        whole = image.size
        factor = reduction(image)
        if factor > 1:
            image.draft("RGB", (image.width // factor, image.height // factor))  # JPEG decodes at a fraction of the size
        needed = bytes_to_decode(image, whole)
        if image.format == "WEBP":  # held whole
            needed += file.stat().st_size if isinstance(file, Path) else file.seek(0, os.SEEK_END)
        check_bytes(name, whole, needed)
        yield image, whole


def open_of_any_size(file: Path | io.BytesIO) -> Image.Image:
    """Return the image of a file, not decoded: its size is to be checked before `decode`.

    Raises:
        PIL.UnidentifiedImageError: if it is of no format in READ.
    """
    # What Pillow logs of a file of many bands is said in words elsewhere.
    logger = logging.getLogger("PIL.TiffImagePlugin")
    with _without_limit():
        disabled, logger.disabled = logger.disabled, True
        try:
            return Image.open(file, formats=READ)
        finally:
            logger.disabled = disabled


@contextmanager
def _without_limit() -> Iterator[None]:
    # Pillow refuses 179 megapixels and more itself; sizes are checked here.
    with _limit:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def decode(image: Image.Image) -> None:
    """Decode an image whose size was checked."""
    # Of TIFF, Pillow asks its limit once more here. That is a global, so that others wait: only for as large a picture.
    with _without_limit() if image.width * image.height > (Image.MAX_IMAGE_PIXELS or 0) else nullcontext():
        image.load()


def reduction(image: Image.Image) -> int:
    """Return the whole factor by which an image is to be reduced, so that KEPT_PIXELS are left at most."""
    return math.ceil(math.sqrt(image.width * image.height / KEPT_PIXELS))


def check_size(name: str, width: int, height: int, most: int = MOST_PIXELS) -> None:
    """Raise ImageError if a picture of this size cannot be explained, or has more than `most` pixels."""
    size = f"Picture '{name}' is {width}x{height}"
    if min(width, height) < LEAST_SIDE:
        raise ImageError(f"{size}; expected at least {LEAST_SIDE} pixels on each side.")
    if max(width, height) > MOST_ASPECT * min(width, height):
        raise ImageError(f"{size}; expected an aspect ratio of at most {MOST_ASPECT} to 1. Crop it first.")
    if width * height > most:
        pixels = width * height
        large = f"{pixels} pixels" if most < 1000 else f"{pixels / 1e6:.4g} megapixels"
        allowed = str(most) if most < 1000 else f"{most / 1e6:.4g}"
        raise ImageError(f"{size}, {large}; expected at most {allowed}. Resize it first, or allow more by --max-pixels {pixels}.")


def check_frame(name: str, count: int, frame: int | None) -> None:
    """Raise ImageError if a file of `count` frames or pages has no such frame."""
    if frame is not None and frame >= count:
        has = "one frame" if count == 1 else f"{count} frames or pages"
        raise ImageError(f"Picture '{name}' has {has}, no frame {frame}; expected --frame 0{f' to {count - 1}' if count > 1 else ''}.")


def check_bytes(name: str, size: tuple[int, int] | None, needed: int) -> None:
    """Raise ImageError if decoding a picture takes more than MOST_BYTES."""
    if needed > MOST_BYTES:
        is_large = f"is {size[0]}x{size[1]} and takes" if size else "takes"
        raise ImageError(
            f"Picture '{name}' {is_large} up to {needed / 1e9:.4g} GB to decode; expected at most {MOST_BYTES / 1e9:.4g} GB. "
            "Resize the file first."
        )


def bytes_to_decode(image: Image.Image, whole: tuple[int, int]) -> int:
    """Return the most bytes that decoding an opened image holds at one time.

    Args:
        whole: (width, height) that the file states, of which the image may be a fraction.
    """
    pixels = image.width * image.height
    stored = _STORED.get(image.mode, 4) * pixels + _BYTES_KEPT * min(pixels, KEPT_PIXELS)
    if image.format in ("JPEG", "MPO"):  # libjpeg holds all coefficients of a file of several scans, as progressive ones are
        return stored + 2 * len(image.getbands()) * whole[0] * whole[1]
    if image.format == "WEBP":  # libwebp holds two canvases in RGBA, of which one is copied
        return stored + 12 * pixels
    if image.format in ("GIF", "BMP"):  # what a GIF disposes of; a BMP's runs, unpacked
        return stored + 2 * pixels
    if image.format == "TIFF":  # a strip or tile is unpacked whole: that may be all of the image, or a tile far beyond its size
        tags = image.tag_v2  # type: ignore[attr-defined]
        tile = int(tags.get(_TILE_WIDTH, 0)) * int(tags.get(_TILE_HEIGHT, 0))
        return stored + max(sum(tags.get(_BITS, (1,))) // 8, 4) * max(pixels, tile)
    return stored
