"""Pictures as one page of a document: PDF and SVG, a point or unit a pixel."""

import base64
import io
from collections.abc import Callable

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

_QUALITY = 95  # of the JPEG inside, as of .jpg


def pdf(picture: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """Return a PDF of one page that is the RGB image, coded as JPEG; the same bytes for the same image.

    Example:
        >>> pdf(np.zeros((2, 3, 3), dtype=np.uint8))[:5]
        b'%PDF-'
    """
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PDF", resolution=72.0, quality=_QUALITY, creationDate=None, modDate=None)
    return buffer.getvalue()


def svg(picture: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """Return an SVG that holds the RGB image, coded without loss.

    Example:
        >>> svg(np.zeros((2, 3, 3), dtype=np.uint8))[:72]
        b'<svg xmlns="http://www.w3.org/2000/svg" width="3" height="2" viewBox="0 '
    """
    height, width = picture.shape[:2]
    coded = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1]
    data = base64.b64encode(coded.tobytes()).decode("ascii")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
        f'<image width="{width}" height="{height}" href="data:image/png;base64,{data}"/></svg>\n'
    ).encode("ascii")


PAGES: dict[str, Callable[[UInt8[np.ndarray, "h w 3"]], bytes]] = {".pdf": pdf, ".svg": svg}
"""By suffix."""
