"""Pictures of maps and the resizing of them, by the names of pytorch-grad-cam and medcam3d."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8

from camtool.errors import ImageError, times
from camtool.functional import min_max, resize
from camtool.visualization.overlay import COLORMAPS, heatmap

__all__ = ["cam_resize", "scale_cam_image", "show_cam_on_image"]


def cam_resize(cam: np.ndarray, target_size: Sequence[int]) -> np.ndarray:
    """Return maps (n, *spatial) interpolated linearly to a size in the order of their axes; values stay as they are.

    Example:
        >>> import numpy as np
        >>> from camtool.compat.medcam3d.utils.image import cam_resize
        >>> cam_resize(np.array([[0.0, 4.0]], np.float32), (4,))
        array([[0., 1., 3., 4.]], dtype=float32)
    """
    return np.asarray(resize(torch.from_numpy(np.ascontiguousarray(cam)), tuple(target_size)).numpy())


def scale_cam_image(cam: np.ndarray, target_size: Sequence[int] | None = None) -> np.ndarray:
    """Return maps (n, *spatial) scaled to [0, 1] one by one, and resized to a size in the order of their axes if one is given.

    Differs from pytorch-grad-cam, which takes (width, height) and adds 1e-7 to the largest value, so that small maps fade.
    """
    scaled = min_max(torch.from_numpy(np.ascontiguousarray(cam)))
    return np.asarray((scaled if target_size is None else resize(scaled, tuple(target_size))).numpy())


def show_cam_on_image(
    img: Float[np.ndarray, "h w 3"],
    mask: Float[np.ndarray, "rows columns"],
    use_rgb: bool = False,
    colormap: int | str = "jet",
    image_weight: float = 0.5,
) -> UInt8[np.ndarray, "h w 3"]:
    """Return a picture, or a slice of a volume in three equal channels, under a coloured map; BGR unless `use_rgb`.

    The mixture is divided by its largest value, as there.

    Args:
        img: in [0, 1].
        mask: in [0, 1]; scale a map of medcam3d first, by `scale_cam_image`.
        colormap: a number of OpenCV's, or a name.
        image_weight: share of the picture, 0 to 1.

    Raises:
        ImageError: if the picture, the map or the weight is not in [0, 1], or their sizes differ.
        OutputError: if there is no such colour map.
    """
    if img.shape[:2] != mask.shape:
        raise ImageError(f"Expected a map of the picture's size, {times(img.shape[:2])}, got {times(mask.shape)}; try `cam_resize`.")
    for what, values in (("picture", img), ("map", mask)):
        if not (values.min() >= 0 and values.max() <= 1):
            raise ImageError(f"Expected a {what} in [0, 1], got {values.min():.3g} to {values.max():.3g}; scale it first.")
    if not 0 <= image_weight <= 1:
        raise ImageError(f"Expected an image_weight from 0 to 1, got {image_weight}.")
    name = colormap if isinstance(colormap, str) else {number: name for name, number in COLORMAPS.items()}.get(colormap, str(colormap))
    colours = heatmap(mask, name) / 255
    mixed = (1 - image_weight) * (colours if use_rgb else colours[..., ::-1]) + image_weight * img
    return np.ascontiguousarray((255 * mixed / max(mixed.max(), np.finfo(np.float32).tiny)).astype(np.uint8))
