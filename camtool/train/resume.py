"""Where a training goes on: the newest checkpoint that is whole."""

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
_ADVICE = "Resume with the config it was trained with, or train in another --work-dir."


@dataclass(frozen=True)
class ResumePoint:
    """A checkpoint's file and what it holds."""

    path: Path
    content: dict[str, Any]


def find_resume_point(folder: Path, pointers: Path, remark: Callable[[str], None], template: str = TEMPLATE) -> ResumePoint | None:
    """Return the newest whole checkpoint in `folder`, or None if there is none at all; what is passed over is remarked.

    Args:
        pointers: where `last_checkpoint` lies, the work directory.
        template: the name of a checkpoint, with one {} for its epoch.

    Raises:
        CheckpointError: if there are checkpoints, and none of them can be read.
    """
    pointer = pointers / POINTER
    there = _numbered(folder, template)
    candidates = _candidates(there, folder, pointer)
    for path in candidates:
        try:
            content = read_content(str(path))
        except CheckpointError as error:
            remark(f"{error} The one before it is tried.")
            continue
        missing = [part for part in _PARTS if not isinstance(content, Mapping) or not isinstance(content.get(part), Mapping)]
        if missing:
            remark(f"Checkpoint '{path}' has no '{missing[0]}', so that nothing can be resumed from it. The one before it is tried.")
            continue
        return ResumePoint(path, _inert(content, path))
    if candidates:
        raise CheckpointError(f"None of the {len(candidates)} checkpoints in '{folder}' can be resumed from; train without --resume.")
    if there:
        remark(f"The checkpoints in '{folder}' are of an earlier training; to go on from these, remove '{pointer}'.")
    return None


def _inert(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return `content` with nothing in it that is run, and no file named that is not beside `path`.

    mmengine reads `meta.config` as a Python file. And it removes the checkpoints that are named when newer or better ones come: in a copy
    of a work directory, these would be the original's.
    """
    hub = content["message_hub"]
    notes = {**(hub.get("runtime_info") or {}), "last_ckpt": str(path)}
    for key in [key for key in notes if str(key).startswith("best_ckpt")]:
        name = Path(str(notes.pop(key))).name
        if name.startswith("best_"):
            notes[key] = str(path.parent / name)
    if "keep_ckpt_ids" in notes:
        notes["keep_ckpt_ids"] = [step for step in notes["keep_ckpt_ids"] or () if isinstance(step, int)]
    meta = {key: value for key, value in content["meta"].items() if key != "config"}
    return {**content, "meta": meta, "message_hub": {**hub, "runtime_info": notes}}


def _numbered(folder: Path, template: str) -> dict[Path, int]:
    pattern = re.compile(r"(\d+)".join(map(re.escape, template.split("{}"))))
    return {path: int(match[1]) for path in folder.glob("*") if (match := pattern.fullmatch(path.name))}


def _candidates(numbers: dict[Path, int], folder: Path, pointer: Path) -> list[Path]:
    """Return the checkpoints, newest first. A work directory may hold those of an earlier, longer training: these are passed over."""
    named = folder / Path(pointer.read_text(errors="replace").strip()).name if pointer.is_file() else None
    if named in (folder, *numbers):  # the folder: no name, a training has begun and saved nothing yet
        # One that is newer than the pointer was written just before its process was killed.
        newest, since = numbers.get(named, 0), pointer.stat().st_mtime_ns
        numbers = {path: number for path, number in numbers.items() if number <= newest or path.stat().st_mtime_ns >= since}
    return sorted(numbers, key=lambda path: numbers[path], reverse=True)


def check_same_network(model: nn.Module, point: ResumePoint) -> None:
    """Raise CheckpointError unless the checkpoint's weights are those of this very network."""
    own, saved = model.state_dict(), point.content["state_dict"]
    differing = [name for name in own.keys() & saved.keys() if own[name].shape != saved[name].shape]
    missing, unexpected = own.keys() - saved.keys(), saved.keys() - own.keys()
    if differing or missing or unexpected:
        first = min(differing or missing or unexpected)
        raise CheckpointError(
            f"Cannot resume from '{point.path}': it is of another network: {len(differing)} weights of another shape, "
            f"{len(missing)} missing, {len(unexpected)} unexpected, '{first}' among them. {_ADVICE}"
        )


def check_same_optimizer(groups: list[dict[str, Any]], point: ResumePoint) -> None:
    """Raise CheckpointError unless the checkpoint's optimiser has the same parameters and settings by name."""
    saved = point.content["optimizer"]["param_groups"]
    ours, theirs = ([(len(group["params"]), sorted(group.keys() - {"params"})) for group in of] for of in (groups, saved))
    # A scheduler notes where it began, and is built after the optimiser.
    ours, theirs = ([(count, [key for key in keys if not key.startswith("initial_")]) for count, keys in of] for of in (ours, theirs))
    if ours != theirs:
        raise CheckpointError(f"Cannot resume from '{point.path}': it is of another optimiser. {_ADVICE}")
