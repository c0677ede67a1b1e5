"""TIFF files whose pages are slices: x along rows, y along columns, z by pages; their spacing is given."""

import re
import struct
import warnings
from pathlib import Path

import numpy as np

from camtool.errors import ImageError, times
from camtool.io.tiff import MOST_PAGES, Page, pages
from camtool.io.volumes.reading import VolumeReading
from camtool.io.volumes.volume import Geometry, Volume
from camtool.io.volumes.voxels import as_float32, check_voxels
from camtool.words import shortened

_DESCRIPTION = 270  # a tag
# What ImageJ and OME-TIFF say of the pages: how many, of how many channels and points of time.
_PAGES = re.compile(r"^images=(\d+)", re.MULTILINE)
_OTHER_AXES = re.compile(r"^(?:channels|frames)=(\d+)|\bSize[CT]=\"(\d+)\"", re.MULTILINE)


def read_tiff(path: Path, reading: VolumeReading) -> Volume:
    """Return the volume whose slices are the pages of a TIFF file; smaller copies of pages are left out.

    Raises:
        ImageError: if it is damaged, its pages are in colour or of several sizes or types, or they take too much memory.
    """
    name = str(path)
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, on damaged tags; what is needed of them is checked
            found = pages(file)
            if not found:
                raise OSError("it has no pages")
            first = found[0]
            if len(found) >= MOST_PAGES:
                raise ImageError(f"'{name}' has {MOST_PAGES} pages or more; expected fewer.")
            if any(page.bands != 1 for page in found):
                raise ImageError(f"'{name}' has pages of {max(page.bands for page in found)} bands; expected one number a voxel.")
            for number, page in enumerate(found):
                if (page.size, page.dtype) != (first.size, first.dtype):
                    raise ImageError(
                        f"'{name}' has pages of {times(first.size)} {first.dtype} and, page {number}, {times(page.size)} {page.dtype}; "
                        "expected slices of one size and type."
                    )
            _check_slices(first, len(found), name)
            shape = (*first.size, len(found))
            check_voxels(shape, first.dtype, name, reading)
            largest = max(page.most_bytes for page in found)
            if largest > reading.max_bytes:
                raise ImageError(
                    f"'{name}' takes {largest / 1e9:.4g} GB a page to decode; expected at most {reading.max_bytes / 1e9:.4g} GB."
                )
            raw = np.empty(shape, first.dtype, order="F")
            for z, page in enumerate(found):
                decoded = page.decode(file)[..., 0].T
                if z == 0 and decoded.shape != shape[:2]:  # it is turned, as all others have to be
                    raw = np.empty((*decoded.shape, len(found)), first.dtype, order="F")
                if decoded.shape != raw.shape[:2]:
                    raise ImageError(f"'{name}' has pages that are turned in several ways; expected slices of one size.")
                raw[..., z] = decoded
    except ImageError as error:
        raise error if name in str(error) else ImageError(f"'{name}' cannot be read: {str(error).rstrip('.')}.") from error
    except (OSError, SyntaxError, ValueError, EOFError, TypeError, KeyError, IndexError, OverflowError, struct.error) as error:
        raise ImageError(f"'{name}' cannot be read as TIFF; it is truncated or damaged: {str(error).rstrip('.')}.") from error
    values = as_float32(raw, name, reading)
    geometry = None if reading.spacing is None else Geometry.of_spacing(reading.spacing, oriented=False)
    return Volume(values, geometry, name, path.suffix.lower())


def _check_slices(first: Page, count: int, name: str) -> None:
    """Raise ImageError if a file's description says that its pages are more than these, or not only slices."""
    said = first.tags.get(_DESCRIPTION)
    text = said if isinstance(said, str) else ""
    if text.startswith("ImageJ=") and (stated := _PAGES.search(text)) and int(stated[1]) != count:
        raise ImageError(
            f"'{name}' has {count} pages and says that it has {shortened(stated[1])}; expected a page a slice. Save it again as such."
        )
    axes = [int(one or other) for one, other in _OTHER_AXES.findall(text)] if text.startswith(("ImageJ=", "<?xml", "<OME")) else []
    if any(entries > 1 for entries in axes):
        raise ImageError(f"'{name}' has pages of several channels or points of time; expected slices only. Save one of them alone.")
