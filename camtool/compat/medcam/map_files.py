"""Files of M3d-Cam's maps: pictures of maps with two axes, NIfTI of others, in the space of the input where it is known."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from camtool.errors import DataError, times
from camtool.io.atomic import write_atomically
from camtool.io.images import encode
from camtool.io.volumes import Geometry, Volume
from camtool.io.volumes.nifti import compressed, encode_nifti
from camtool.visualization.overlay import heatmap, overlay


def affine_of(batch: Tensor, raw_input: Any, sample: int) -> np.ndarray:
    """Return the affine matrix (4, 4) from a sample's voxels to millimetres; the identity where nothing is known.

    That of the raw input, a Volume or a list of these, else that of the batch where it has one, as MONAI's MetaTensor (`batch.affine`).

    Raises:
        DataError: if the volume has another shape than the batch: its geometry is not that of the map.
    """
    volume = _of_sample(raw_input, sample)
    if isinstance(volume, Volume):
        if volume.shape != tuple(batch.shape[2:]):
            raise DataError(
                f"Expected a volume of the batch's size, {times(batch.shape[2:])}, got {times(volume.shape)} ('{volume.name}'): resampled "
                "voxels lie elsewhere. Leave raw_input out, or give the volume as the network gets it."
            )
        return np.eye(4) if volume.geometry is None else volume.geometry.affine
    affine = getattr(batch, "affine", None)
    if affine is None:
        return np.eye(4)
    given = torch.as_tensor(affine).detach().cpu().double().numpy()
    return given[sample] if given.ndim == 3 else given


def write_map(stem: Path, values: np.ndarray, affine: np.ndarray, raw_input: Any = None) -> Path:
    """Write one map (*spatial) in [0, 1] at the input's size to `stem` with a suffix; return the path.

    Args:
        affine: of maps that do not have two axes.
        raw_input: the picture under a map of two axes, (h, w), (h, w, 3) or (3, h, w) of 0 to 1 or 0 to 255; None: the map alone.

    Raises:
        DataError: if the picture has another size.
        OutputError: if the file cannot be written.
    """
    if values.ndim == 2:
        path = stem.with_name(f"{stem.name}.png")
        picture = None if raw_input is None else _picture(raw_input, values.shape)
        write_atomically(path, encode(heatmap(values) if picture is None else overlay(picture, values), ".png"))
        return path
    path = stem.with_name(f"{stem.name}.nii.gz")
    volume = values.reshape(*values.shape, *[1] * (3 - values.ndim))
    write_atomically(path, compressed(encode_nifti(volume, Geometry(affine))))
    return path


def picture_of(raw_input: Any, sample: int) -> Any:
    """Return the picture of a sample, None if there is none."""
    given = _of_sample(raw_input, sample)
    return None if isinstance(given, Volume) else given


def _of_sample(raw_input: Any, sample: int) -> Any:
    if raw_input is None or isinstance(raw_input, Volume):
        return raw_input
    if sample >= len(raw_input):
        raise DataError(f"Expected a raw input for each sample, got {len(raw_input)}, none for sample {sample}.")
    return raw_input[sample]


def _picture(raw_input: Any, size: tuple[int, ...]) -> np.ndarray:
    values = torch.as_tensor(raw_input).detach().cpu().float().numpy()
    if values.ndim == 3 and values.shape[0] in (1, 3) and values.shape[1:] == size:
        values = values.transpose(1, 2, 0)
    values = values[..., None] if values.ndim == 2 else values
    if values.ndim != 3 or values.shape[:2] != size or values.shape[2] not in (1, 3):
        raise DataError(f"Expected a raw input of the map's size, {times(size)}, with 1 or 3 channels, got shape {values.shape}.")
    values = values / 255 if values.max() > 1 else values
    return np.ascontiguousarray(np.broadcast_to((values.clip(0, 1) * 255).round().astype(np.uint8), (*size, 3)))
