"""Checkpoints: read without running anything from them, mapped, and loaded with nothing missing."""

import hashlib
import pickle
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from camtool.errors import CheckpointError, some, warn
from camtool.models.hub import locate

_STATE_KEYS = ("state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "model.")


class _StandIn:
    """Takes the place of a class that a training checkpoint holds beside its weights; keeps nothing, does nothing."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


# What training scripts store beside the weights: logs, numpy scalars, arguments. Nothing of this is needed, so nothing of it is run.
_INERT = (
    "argparse.Namespace",
    "builtins.getattr",
    "mmengine.logging.history_buffer.HistoryBuffer",
    "mmengine.optim.scheduler.param_scheduler.OneCycleParamScheduler",  # its state has a function of the class in it
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    "numpy.dtype",
    "numpy.ndarray",
)


@dataclass(frozen=True)
class KeyCounts:
    """How many of a network's keys a checkpoint gave, how many it did not, and how many of its own fit nowhere."""

    loaded: int
    missing: int
    unexpected: int

    def __str__(self) -> str:
        return f"{self.loaded} of {self.loaded + self.missing} keys loaded, {self.missing} missing, {self.unexpected} unexpected"


@dataclass(frozen=True)
class Checkpoint:
    """Weights by key, what the file says about them, and the file's sha256 (None where they are in no file)."""

    state: dict[str, Tensor]
    meta: dict[str, Any]
    source: str
    digest: str | None


def read_checkpoint(source: str) -> Checkpoint:
    """Return what the file, URL or `package://` address holds.

    Raises:
        CheckpointError: if it is missing, truncated, no checkpoint, or would run code when unpickled.
    """
    path = locate(source)
    content = _load(path, source if str(path) == source else f"{source} ({path})")
    meta = content.get("meta") if isinstance(content, Mapping) else None
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Checkpoint(_state(content, source), dict(meta) if isinstance(meta, Mapping) else {}, source, digest)


def read_content(source: str) -> Any:
    """Return all that a checkpoint file holds, as data: nothing of it is run.

    Raises:
        CheckpointError: if it is missing, truncated, no checkpoint, or would run code when unpickled.
    """
    path = locate(source)
    return _load(path, source if str(path) == source else f"{source} ({path})")


def _load(path: Path, source: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch remarks on stand-ins and old formats; the outcome is checked below
        if path.suffix == ".safetensors":
            return _load_safetensors(path, source)
        stand_ins: list[Any] = [(_StandIn, name) for name in _INERT]
        try:
            with torch.serialization.safe_globals(stand_ins):
                return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise CheckpointError(_refusal(path, source, error)) from error
        except PermissionError as error:
            raise CheckpointError(f"Cannot read checkpoint '{source}': {error.strerror or error}.") from error
        except Exception as error:
            # Truncated and foreign files fail in many ways, none of which names the file.
            raise CheckpointError(
                f"Checkpoint '{source}' is damaged, truncated, or not a PyTorch file ({type(error).__name__}); "
                "expected what torch.save wrote. Copy or download it again."
            ) from error


def _load_safetensors(path: Path, source: str) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except Exception as error:  # of its own kinds, and of the system
        raise CheckpointError(f"Checkpoint '{source}' cannot be read as safetensors: {error}.") from error


_REFUSED = re.compile(r"GLOBAL (\S+) was not an allowed global|GLOBAL (\S+) whose module")


def _refusal(path: Path, source: str, error: pickle.UnpicklingError) -> str:
    unsafe = {name for names in _REFUSED.findall(str(error)) for name in names if name}  # the first one only, in any format
    if unsafe and zipfile.is_zipfile(path):
        unsafe.update(name for name in torch.serialization.get_unsafe_globals_in_checkpoint(str(path)) if name not in _INERT)
    if not unsafe:
        return f"Checkpoint '{source}' is damaged, or not a PyTorch file of tensors; expected what torch.save(state_dict) wrote."
    return (
        f"Checkpoint '{source}' was not loaded: unpickling it would run {', '.join(sorted(unsafe)[:5])}. "
        "Expected tensors only; where you trust the file, load it yourself and save its state_dict."
    )


def _state(content: Any, source: str) -> dict[str, Tensor]:
    for key in _STATE_KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    state = {str(key): value for key, value in content.items() if isinstance(value, Tensor)} if isinstance(content, Mapping) else {}
    if not state:
        raise CheckpointError(f"Checkpoint '{source}' holds no tensors by name; expected a state_dict, or a dict with 'state_dict'.")
    while prefix := next((one for one in _PREFIXES if all(key.startswith(one) for key in state)), ""):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def map_keys(state: Mapping[str, Tensor], rules: Sequence[Any]) -> dict[str, Tensor]:
    """Return `state` with each key rewritten by every (regular expression, replacement) rule in turn; CheckpointError if two collide."""
    try:
        compiled = [(re.compile(pattern), replacement) for pattern, replacement in rules]
        mapped: dict[str, Tensor] = {}
        for key, value in state.items():
            new = key
            for pattern, replacement in compiled:
                new = pattern.sub(replacement, new)
            if new in mapped:
                raise CheckpointError(f"cam.checkpoint_keys maps two keys to '{new}', the second is '{key}'.")
            mapped[new] = value
    except (re.error, TypeError, ValueError) as error:
        raise CheckpointError(f"cam.checkpoint_keys must be a list of (regular expression, replacement): {error}.") from error
    return mapped


def best_fit(own: Iterable[str], state: Mapping[str, Tensor], rules: Sequence[Any] = ()) -> Mapping[str, Tensor]:
    """Return `state` under those of its possible names that are most of a network's own keys; the first of equals.

    Names are tried with and without the `rules` of `map_keys`, and with a prefix taken away or put before them: networks keep their
    layers under `model.`, or `module.`, and other things beside it.

    Raises:
        CheckpointError: if the rules cannot be applied.
    """
    names = set(own)
    named = [state, *(_without(prefix, state) for prefix in _PREFIXES)]
    if rules:  # they are for the checkpoint that the config names; one saved from this very network needs none
        named = [*(map_keys(one, rules) for one in named), *named]
    named += [{f"{prefix}{key}": value for key, value in one.items()} for prefix in _PREFIXES for one in named]
    return max(named, key=lambda one: len(names & one.keys()))


def _without(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return `state` with the prefix taken from the keys that have it; they come before others of the same name."""
    others = {key: value for key, value in state.items() if not key.startswith(prefix)}
    return {**others, **{key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}}


def load_into(model: nn.Module, state: Mapping[str, Tensor], source: str) -> KeyCounts:
    """Load `state` into `model`; return how many keys did fit.

    Missing buffers and unexpected keys warn; a missing parameter or another shape is fatal.

    Raises:
        CheckpointError: with the counts of loaded, missing and unexpected keys.
    """
    expected = len(model.state_dict())
    try:
        missing, unexpected = model.load_state_dict(_with_versions(state, model), strict=False)
    except Exception as error:  # beside shapes, models' own conversion hooks fail on foreign keys in their own ways
        raise CheckpointError(_mismatch(error, source)) from error
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    counts = KeyCounts(expected - len(missing), len(missing), len(unexpected))
    lost = [name for name in missing if name in parameters]
    if lost:
        raise CheckpointError(
            f"Checkpoint '{source}' does not fit this network: {counts}. Missing parameters: {some(lost)}."
            f"{f' Unexpected: {some(unexpected)}.' if unexpected else ''} "
            "Give the checkpoint of this config, or map its keys by cam.checkpoint_keys in the config."
        )
    telling = [name for name in missing if not name.endswith(_BATCHES)]
    if telling or unexpected:
        details = [f"{kind} {some(names)}" for kind, names in (("missing buffers", telling), ("unexpected", unexpected)) if names]
        warn(f"Checkpoint '{source}': {counts}: {'; '.join(details)}.")
    return counts


_BATCHES = "num_batches_tracked"  # of batch norms; files from before torch 0.4.1 have none, and nothing is lost


def _with_versions(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Return `state` as of today's batch norms: they then fill in nothing themselves, which torch would count as loaded."""
    versioned: Any = OrderedDict(state)
    norms = {path: module for path, module in model.named_modules() if isinstance(module, nn.modules.batchnorm._NormBase)}
    versioned._metadata = {path: {"version": module._version} for path, module in norms.items()}
    return versioned


_SIZE = re.compile(r"size mismatch for (\S+): copying a param with shape torch.Size\((.*?)\) from checkpoint, .*?torch.Size\((.*?)\)")


def _mismatch(error: Exception, source: str) -> str:
    sizes = _SIZE.findall(str(error))
    if not sizes:
        return f"Checkpoint '{source}' does not fit this network: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
    shown = "; ".join(f"{name} is {theirs} there and {ours} here" for name, theirs, ours in sizes[:3])
    more = f" and {len(sizes) - 3} more" if len(sizes) > 3 else ""
    hint = ""
    for name, theirs, ours in sizes:
        their, our = theirs.strip("[]").split(", "), ours.strip("[]").split(", ")
        if "head" in name and their[1:] == our[1:] and their[0] != our[0]:
            hint = f" Its head has {their[0]} classes: --cfg-options model.head.num_classes={their[0]} makes one of that size."
            break
    return f"Checkpoint '{source}' does not fit this network, {len(sizes)} shapes differ: {shown}{more}.{hint}"
