"""Find the newest complete checkpoint of a training, and check that it fits."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from camtool.errors import CheckpointError
from camtool.models.checkpoints import read_content
from camtool.train.hooks.checkpoint_hook import POINTER, TEMPLATE

_PARTS = ("meta", "state_dict", "message_hub", "optimizer")
_ADVICE = "Resume with the config it was trained with, or use another --work-dir."


@dataclass(frozen=True)
class ResumePoint:
    """A checkpoint to resume from: its file and content."""

    path: Path
    content: dict[str, Any]


def find_resume_point(folder: Path, pointers: Path, remark: Callable[[str], None], template: str = TEMPLATE) -> ResumePoint | None:
    """Return the newest complete checkpoint in `folder`; None if there is none of this training.

    Args:
        pointers: the folder of `last_checkpoint`, which is the work directory.
        remark: called with a text for each checkpoint that is skipped.
        template: file name of checkpoints, with one {} for the epoch.

    Raises:
        CheckpointError: if there are checkpoints, but none can be read.
    """
    pointer = pointers / POINTER
    epochs = _epoch_of_files(folder, template)
    candidates = _candidates(epochs, folder, pointer)
    for path in candidates:
        try:
            content = read_content(str(path))
        except CheckpointError as error:
            remark(f"{error} Trying the checkpoint before it.")
            continue
        missing = [part for part in _PARTS if not isinstance(content, Mapping) or not isinstance(content.get(part), Mapping)]
        if missing:
            remark(f"Checkpoint '{path}' has no '{missing[0]}' and cannot be resumed from. Trying the checkpoint before it.")
            continue
        return ResumePoint(path, _inert(content, path))
    if candidates:
        raise CheckpointError(f"None of the {len(candidates)} checkpoints in '{folder}' can be resumed from. Train without --resume.")
    if epochs:
        remark(f"The checkpoints in '{folder}' are of an earlier training. To resume from them, remove '{pointer}'.")
    return None


def _inert(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return `content` without `meta.config`, and with paths of checkpoints beside `path` only.

    mmengine runs `meta.config` as a Python file. And it removes the checkpoints at these paths when newer or better ones are saved: if the
    work directory is a copy, they would be those of the original.
    """
    hub = content["message_hub"]
    info = {**(hub.get("runtime_info") or {}), "last_ckpt": str(path)}
    for key in [key for key in info if str(key).startswith("best_ckpt")]:
        name = Path(str(info.pop(key))).name
        if name.startswith("best_"):
            info[key] = str(path.parent / name)
    if "keep_ckpt_ids" in info:
        info["keep_ckpt_ids"] = [step for step in info["keep_ckpt_ids"] or () if isinstance(step, int)]
    meta = {key: value for key, value in content["meta"].items() if key != "config"}
    return {**content, "meta": meta, "message_hub": {**hub, "runtime_info": info}}


def _epoch_of_files(folder: Path, template: str) -> dict[Path, int]:
    pattern = re.compile(r"(\d+)".join(map(re.escape, template.split("{}"))))
    return {path: int(match[1]) for path in folder.glob("*") if (match := pattern.fullmatch(path.name))}


def _candidates(epochs: dict[Path, int], folder: Path, pointer: Path) -> list[Path]:
    """Return the checkpoints of this training, newest first; those of an earlier, longer training in the same folder are left out."""
    named = folder / Path(pointer.read_text(errors="replace").strip()).name if pointer.is_file() else None
    if named in (folder, *epochs):  # == folder: the pointer is empty, the training has not saved yet
        # A checkpoint newer than the pointer was written just before its process was killed.
        newest, since = epochs.get(named, 0), pointer.stat().st_mtime_ns
        epochs = {path: epoch for path, epoch in epochs.items() if epoch <= newest or path.stat().st_mtime_ns >= since}
    return sorted(epochs, key=lambda path: epochs[path], reverse=True)


def check_same_network(model: nn.Module, point: ResumePoint) -> None:
    """Raise CheckpointError unless the checkpoint has exactly the weights of this network, in name and shape."""
    current, saved = model.state_dict(), point.content["state_dict"]
    differing = [name for name in current.keys() & saved.keys() if current[name].shape != saved[name].shape]
    missing, unexpected = current.keys() - saved.keys(), saved.keys() - current.keys()
    if differing or missing or unexpected:
        first = min(differing or missing or unexpected)
        raise CheckpointError(
            f"Cannot resume from '{point.path}': it is of another network: {len(differing)} weights have another shape, "
            f"{len(missing)} missing, {len(unexpected)} unexpected, '{first}' among them. {_ADVICE}"
        )


def check_same_optimizer(groups: list[dict[str, Any]], point: ResumePoint) -> None:
    """Raise CheckpointError unless the checkpoint's optimizer has as many parameters and the same setting names in each group."""
    saved = point.content["optimizer"]["param_groups"]
    if _structure(groups) != _structure(saved):
        raise CheckpointError(f"Cannot resume from '{point.path}': it is of another optimizer. {_ADVICE}")


def _structure(groups: list[dict[str, Any]]) -> list[tuple[int, list[str]]]:
    """Return (number of parameters, names of settings) of each parameter group."""
    # Without "initial_lr" and the like: schedulers add these, and are built after the optimizer.
    return [(len(group["params"]), sorted(key for key in group if key != "params" and not key.startswith("initial_"))) for group in groups]
