"""Figures and arrays of an explained picture: what they hold, what they are called, and writing them."""

import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

from camtool import __version__
from camtool.errors import OutputError
from camtool.io.atomic import write_atomically
from camtool.io.images import Picture, check_format, encode
from camtool.visualization.figures import Cell, Style, figure
from camtool.visualization.signed_attributions import around_grey

if TYPE_CHECKING:
    from camtool.cli.explain import Explained, Request
    from camtool.cli.questions import Aim

DEFAULT_FOLDER = Path("outputs/vis_cam")

_LONGEST_NAME = 100  # of the methods in a file's name; file systems end at 255 bytes

NO_CLASS = -1
"""In saved arrays, where a map is about no class."""

RANDOM_WEIGHTS = "RANDOM WEIGHTS: this map means nothing"
"""Written large below figures of a network without a checkpoint."""


@dataclass(frozen=True)
class Drawn:
    """Everything in one figure, and, where it is asked for, each map by itself: (method, what it explains, layer or "") -> picture."""

    whole: UInt8[np.ndarray, "H W 3"]
    single: dict[tuple[str, str, str], Picture]


def is_folder(save_path: str) -> bool:
    """Return whether `--save-path` means a directory: an existing one, a trailing slash, or no suffix."""
    return save_path.endswith(("/", "\\")) or os.path.isdir(save_path) or not Path(save_path).suffix


def planned_paths(request: "Request") -> list[Path]:
    """Return every path that is known before any work, to be checked; OutputError for a format that cannot be written."""
    paths = []
    if request.save_raw is not None:
        if request.save_raw.suffix != ".npz":
            raise OutputError(f"--save-raw writes a .npz file, got '{request.save_raw}'.")
        paths.append(request.save_raw)
    if request.save_path is None:
        paths.append(DEFAULT_FOLDER / "picture.jpg")
    elif is_folder(request.save_path):
        paths.append(Path(request.save_path) / "picture.jpg")
    else:
        check_format(Path(request.save_path).suffix)
        paths.append(Path(request.save_path))
    return paths


class Canvas:
    """Where the maps of an explained picture are drawn: on what the network saw, or, asked for so, on the original picture."""

    def __init__(self, explained: "Explained", picture: Picture) -> None:
        from camtool.visualization.inverse_preprocessing import measure_geometry, seen_picture

        preprocess = explained.network.preprocess
        self._explained = explained
        self._geometry = measure_geometry(picture, preprocess) if explained.request.original else None
        self.below: Picture = seen_picture(explained.inputs, preprocess) if self._geometry is None else picture
        """What lies under the maps."""

    def cell(self, method: str, k: int, layer: str = "") -> Cell:
        """Return a method's map of the k-th class, of all target layers or of one, with its captions."""
        from camtool.visualization.inverse_preprocessing import channel_order

        explained, geometry = self._explained, self._geometry
        result = explained.results[method]
        maps = (result.layer_maps[layer] if layer else result.maps)[0, k].cpu().numpy()
        status = result.status[0][k]
        discriminative = "" if result.class_discriminative else " (any class)"
        portrait = None
        if result.attributions is not None:
            values = result.attributions[0, k].cpu().numpy()[channel_order(explained.network.preprocess)]
            portrait = around_grey(values if geometry is None else np.stack([geometry.to_original(one) for one in values]))
        return Cell(
            geometry.to_original(maps) if geometry is not None else maps,
            caption(explained, explained.answers.aims[k]),
            f"{method}{discriminative} {f'at {layer}' if layer else result.source}",
            "" if status == "ok" else status,
            portrait,
        )


def draw(explained: "Explained", picture: Picture) -> Drawn:
    """Return the figures: on what the network saw, or on the original picture."""
    request, network, aims = explained.request, explained.network, explained.answers.aims
    canvas = Canvas(explained, picture)
    keys = []
    for method, result in explained.results.items():
        keys.append((method, ""))
        if request.per_layer and len(result.layer_maps) > 1:
            keys += [(method, layer) for layer in result.layer_maps]
    rows = [[canvas.cell(method, k, layer) for k in range(len(aims))] for method, layer in keys]
    style = Style(request.figure, request.colormap, request.opacity)
    alarm = RANDOM_WEIGHTS if network.checkpoint is None else ""
    wants_single = request.show or (request.save_path is not None and is_folder(request.save_path))
    single = {
        (method, aims[k].file_name, layer): figure(canvas.below, [[one]], style, alarm=alarm)
        for (method, layer), row in zip(keys, rows, strict=True)
        for k, one in enumerate(row)
        if wants_single
    }
    # Methods of one class stand side by side, as the original and its maps do in a paper.
    grid = [[one for row in rows for one in row]] if len(aims) == 1 else rows
    return Drawn(figure(canvas.below, grid, style, alarm=alarm), single)


def caption(explained: "Explained", aim: "Aim") -> str:
    """Return what a map explains, with its probability, or else the target's value."""
    if aim.index is not None and explained.question.name in ("logit", "probability", "binary"):
        return f"{aim.words}, {explained.shown(aim.index)}"
    return f"{aim.words}, {aim.value:.3g}"


def write(explained: "Explained", drawn: Drawn) -> list[Path]:
    """Write the figures and arrays that were asked for; return their paths."""
    request = explained.request
    files: list[tuple[Path, bytes]] = []
    stem = request.image.stem
    if request.save_path is not None and is_folder(request.save_path):
        folder = Path(request.save_path)
        for (method, aim, layer), picture in drawn.single.items():
            name = "_".join([stem, _as_file_name(method), aim, *([_as_file_name(layer)] if layer else [])])
            files.append((folder / f"{name}.jpg", encode(picture, ".jpg")))
    else:
        path = (
            Path(request.save_path)
            if request.save_path
            else DEFAULT_FOLDER / f"{stem}_{_methods_as_file_name(explained)}{explained.question.suffix}.jpg"
        )
        files.append((path, encode(drawn.whole, path.suffix)))
    if request.save_raw is not None:
        files.append((request.save_raw, _arrays(explained)))
    for path, content in files:
        write_atomically(path, content)
    return [path for path, _ in files]


def _methods_as_file_name(explained: "Explained") -> str:
    joined = "_".join(map(_as_file_name, explained.results))
    if [name.casefold() for name in explained.request.methods] == ["all"]:
        return "all"
    return joined if len(joined) <= _LONGEST_NAME else f"{len(explained.results)}_methods"


def _as_file_name(name: str) -> str:
    """Return a layer's path or a method's name as every file system takes it: `smooth:gradcam++` is `smooth-gradcam++`."""
    return "".join(character if character.isalnum() or character in "._-+" else "-" for character in name).strip("-")


def _arrays(explained: "Explained") -> bytes:
    answers = explained.answers
    arrays: dict[str, Any] = {}
    for method, result in explained.results.items():
        arrays[f"map/{method}"] = result.maps[0].float().cpu().numpy()
        if result.attributions is not None:
            arrays[f"attributions/{method}"] = result.attributions[0].float().cpu().numpy()
        for layer, raw in result.raw.items():
            arrays[f"raw/{method}/{layer}"] = raw[0].float().cpu().numpy()
    arrays["logits"] = answers.logits[0].float().cpu().numpy()
    arrays["predicted"] = np.array(explained.predicted, dtype=np.int64)
    arrays["targets"] = np.array([NO_CLASS if aim.index is None else aim.index for aim in answers.aims], dtype=np.int64)
    arrays["target_names"] = np.array([_array_name(explained, aim) for aim in answers.aims], dtype=np.str_)
    arrays["meta"] = np.array(json.dumps(_meta(explained), ensure_ascii=False), dtype=np.str_)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _array_name(explained: "Explained", aim: "Aim") -> str:
    return aim.words if aim.index is None else explained.name(aim.index) or str(aim.index)


def _meta(explained: "Explained") -> dict[str, Any]:
    request, network = explained.request, explained.network
    return {
        "image": str(request.image),
        "config": request.wanted.config,
        "cfg_options": list(request.wanted.cfg_options),
        "checkpoint": network.checkpoint or "random weights",
        "checkpoint_sha256": network.digest,
        "layers": explained.layers,
        "methods": list(explained.results),
        "refused": explained.refused,
        "sources": {method: result.source for method, result in explained.results.items()},
        "target": explained.target_facts(),
        "aug_smooth": explained.aug_smooth,
        "eigen_smooth": explained.eigen_smooth,
        "status": {method: result.status[0] for method, result in explained.results.items()},
        "versions": _versions(),
    }


def _versions(packages: Sequence[str] = ("torch", "torchvision", "mmengine", "mmpretrain", "timm", "numpy")) -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {"camtool": __version__}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # a fork of another name may provide the module
            found[package] = "unknown"
    return found
