"""Pictures to bytes of a file format, chosen by the file's suffix."""

import cv2
import numpy as np
from jaxtyping import UInt8

from camtool.errors import OutputError

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
