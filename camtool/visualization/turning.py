"""A volume that turns: maximum-intensity projections from all sides, and their files."""

import tempfile
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch.nn import functional as F

from camtool.errors import OutputError
from camtool.io.volumes import Geometry
from camtool.visualization.figures import Style
from camtool.visualization.overlay import heatmap, overlay
from camtool.visualization.volume_views import Scan, columns_and_rows, framed, in_rgb

SIDE = 128
"""Pixels of the longest edge of a turning volume."""
MOST_BYTES = 8_000_000
"""Of a GIF; frames become smaller until it has no more."""
FORMATS = (".gif", ".mp4")

_CHANNELS = 64  # heights that OpenCV turns at once; version 5 knows 128, 4 knows 512
_LEAST_SIDE = 48  # pixels of a GIF's frame, below which nothing is seen


def turning(
    scan: np.ndarray,
    saliency: Float[np.ndarray, "x y z"],
    geometry: Geometry | None,
    style: Style,
    *,
    axis: str | None = None,
    frames: int = 36,
    window: tuple[float, float] | None = None,
) -> UInt8[np.ndarray, "n h w 3"]:
    """Return frames (RGB) of a map over its scan, the highest values along each line of sight, as one walks around it once.

    The first frame is seen from the front, the patient's left at the picture's right and the superior at the top; then one walks to the
    patient's left. Letters name the nearest directions. Of a signed map, what is farthest from 0.5 is drawn. Volumes of more than 128
    voxels are reduced to so many along their longest edge, by means.

    Args:
        scan: (x, y, z), any real numbers; what is not finite is black.
        saliency: in [0, 1], at the scan's voxels; NaN outside the network's input.
        axis: about which it turns: that along which "axial", "coronal" or "sagittal" slices follow each other, or "x", "y", "z" of the
            array; None: axial. A scan without a geometry needs one of the array's.
        frames: of a whole turn.
        window: the scan's values that are black and white; None: its percentiles 0.5 and 99.5.

    Raises:
        OutputError: if there is no such axis, it is not known, there are no frames, or the map has another size than the scan.

    Example:
        >>> scan = np.zeros((20, 24, 16), np.float32)
        >>> scan[4:8] = 1
        >>> turning(scan, scan, Geometry.of_spacing((1.0, 1.0, 1.0)), Style(), frames=4).shape[0]
        4
    """
    if frames < 1:
        raise OutputError(f"Expected a number of frames above 0, got {frames}.")
    shown = Scan.of(scan, geometry, window)
    upright = shown.axis_of(axis or "axial")
    across, depth = columns_and_rows(upright)
    order = (depth, across, upright)
    sides = np.array([shown.grey.shape[k] * shown.spacing[k] for k in order])
    deep, wide, up = (max(round(side * SIDE / max(sides)), 1) for side in sides)
    grey, values, seen = (
        _resized(part.transpose(order), (deep, wide, up)) for part in (shown.grey, *_known(shown.turned(saliency), signed=style.signed))
    )
    everywhere = bool((seen == 1).all())
    drawn = []
    for frame in range(frames):
        angle = 2 * np.pi * frame / frames
        right = np.array([np.cos(angle), np.sin(angle)])  # of the picture, along `across` and `depth`
        projections = _projected(grey, values, None if everywhere else seen, right)
        drawn.append(_frame(*projections, style, _letters(shown, (across, depth), right), shown.ends[upright]))
    return np.stack(drawn)


def encode_frames(frames: UInt8[np.ndarray, "n h w 3"], suffix: str, *, rate: float = 12.0) -> bytes:
    """Return frames (RGB) as the bytes of a film that repeats (.gif) or plays once (.mp4, in MPEG-4 part 2, which browsers do not play).

    Args:
        rate: frames in a second.

    Raises:
        OutputError: if the suffix is another one, or this system's OpenCV writes no MP4.

    Example:
        >>> encode_frames(np.zeros((2, 64, 64, 3), np.uint8), ".gif")[:6]
        b'GIF89a'
    """
    if suffix.lower() not in FORMATS:
        raise OutputError(f"Cannot write a film as '{suffix or '(no suffix)'}'; expected {' or '.join(FORMATS)}.")
    return _mp4(frames, rate) if suffix.lower() == ".mp4" else _gif(frames, rate)


def _known(values: Float[np.ndarray, "a b c"], *, signed: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return a map with zeros (0.5 of a signed one) where it is NaN, and where it is not."""
    seen = ~np.isnan(values)
    return np.where(seen, values - 0.5 if signed else values, 0), seen.astype(np.float32)


def _resized(values: np.ndarray, size: tuple[int, int, int]) -> Float[np.ndarray, "deep wide up"]:
    """Return values at `size`: means of volumes along axes that become smaller, linear along others."""
    whole = torch.from_numpy(np.ascontiguousarray(values, np.float32))[None, None]
    smaller = [min(own, wanted) for own, wanted in zip(whole.shape[2:], size, strict=True)]
    return F.interpolate(F.adaptive_avg_pool3d(whole, (smaller[0], smaller[1], smaller[2])), size, mode="trilinear")[0, 0].numpy()


def _projected(
    grey: Float[np.ndarray, "deep wide up"],
    values: Float[np.ndarray, "deep wide up"],
    seen: Float[np.ndarray, "deep wide up"] | None,
    right: np.ndarray,
) -> tuple[Float[np.ndarray, "up w"], Float[np.ndarray, "up w"]]:
    """Return grey levels, and the map at each line of sight's strongest point; NaN where a line meets nothing that was seen.

    Args:
        seen: how much of a voxel the network saw; None: all.
        right: of the picture, in voxels along `wide` and `deep`.
    """
    deep, wide = grey.shape[:2]
    reach = int(np.ceil(np.hypot(deep, wide)))  # the diagonal, so that nothing is cut off on the way round
    reach += (reach - wide) % 2  # seen from the front, pixels lie on voxels
    (cosine, sine), middle = right, (reach - 1) / 2
    turn = np.array([[cosine, -sine], [sine, cosine]])
    offset = np.array([(wide - 1) / 2, (deep - 1) / 2]) - turn @ (middle, middle)
    matrix = np.column_stack([turn, offset])

    def turned(part: np.ndarray) -> np.ndarray:  # (away, along, up)
        levels = [np.ascontiguousarray(part[..., first : first + _CHANNELS]) for first in range(0, part.shape[2], _CHANNELS)]
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return np.concatenate([np.atleast_3d(cv2.warpAffine(level, matrix, (reach, reach), flags=flags)) for level in levels], axis=2)

    share = turned(np.ones_like(values[..., :1]) if seen is None else seen)
    known = turned(values) / np.maximum(share, 0.5)
    if seen is not None:
        known *= share > 0.5
    highest, lowest = known.max(axis=0), known.min(axis=0)
    saliency = np.where(highest >= -lowest, highest, lowest)
    saliency[np.broadcast_to(share.max(axis=0) <= 0.5, saliency.shape)] = np.nan
    return turned(grey).max(axis=0).T, saliency.T


def _frame(
    grey: Float[np.ndarray, "h w"], saliency: Float[np.ndarray, "h w"], style: Style, sideways: tuple[str, str], upright: tuple[str, str]
) -> UInt8[np.ndarray, "H W 3"]:
    saliency = (saliency + 0.5 if style.signed else saliency).astype(np.float32)
    picture = in_rgb(grey)
    drawn = heatmap(saliency, style.colormap) if style.kind == "heatmap" else overlay(picture, saliency, style.colormap, style.opacity)
    return framed(drawn, (sideways, upright))


def _letters(scan: Scan, axes: tuple[int, int], right: np.ndarray) -> tuple[str, str]:
    """Return the letters at the left and right of a frame."""
    nearest = int(np.argmax(np.abs(right).round(6)))
    first, last = scan.ends[axes[nearest]]
    return (first, last) if right[nearest] > 0 else (last, first)


def _gif(frames: UInt8[np.ndarray, "n h w 3"], rate: float) -> bytes:
    images = [Image.fromarray(frame) for frame in frames]
    while True:
        of_palette = [image.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE) for image in images]
        content = BytesIO()
        of_palette[0].save(content, "GIF", save_all=True, append_images=of_palette[1:], duration=round(1000 / rate), loop=0, optimize=False)
        width, height = images[0].size
        if content.tell() <= MOST_BYTES or min(width, height) < 2 * _LEAST_SIDE:
            return content.getvalue()
        images = [image.resize((width * 3 // 4, height * 3 // 4), Image.Resampling.BOX) for image in images]


def _mp4(frames: UInt8[np.ndarray, "n h w 3"], rate: float) -> bytes:
    _, height, width, _ = frames.shape
    even = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)))  # as the codec's blocks are
    with tempfile.TemporaryDirectory() as folder:  # OpenCV writes to paths only
        path = Path(folder) / "turning.mp4"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate, even.shape[2:0:-1])
        if not writer.isOpened():
            raise OutputError("This system's OpenCV writes no MP4; choose a path that ends in .gif.")
        try:
            for frame in even:
                writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        finally:
            writer.release()
        return path.read_bytes()
