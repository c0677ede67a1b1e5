"""Checkpoints: read safely (no code of the file is run), rename keys, load into a network and count what fits."""

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
    """Replaces a class that training checkpoints contain besides weights; ignores its arguments and state."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


# What training scripts store besides weights: logs, numpy scalars, arguments. None of it is needed; all is replaced by _StandIn.
_INERT = (
    "argparse.Namespace",
    "builtins.getattr",
    "mmengine.logging.history_buffer.HistoryBuffer",
    "mmengine.optim.scheduler.param_scheduler.OneCycleParamScheduler",  # its state contains a method of the class
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    "numpy.dtype",
    "numpy.ndarray",
)


@dataclass(frozen=True)
class KeyCounts:
    """Numbers of keys of a network that a checkpoint has (loaded) and lacks (missing), and of other keys that it has (unexpected)."""

    loaded: int
    missing: int
    unexpected: int

    def __str__(self) -> str:
        return f"{self.loaded} of {self.loaded + self.missing} keys loaded, {self.missing} missing, {self.unexpected} unexpected"


@dataclass(frozen=True)
class Checkpoint:
    """Weights and metadata of a checkpoint."""

    state: dict[str, Tensor]
    """Weights by key."""
    meta: dict[str, Any]
    """The file's `meta` dict, {} if it has none."""
    address: str
    """Path, URL or `package://` address."""
    digest: str | None
    """Sha256 of the file; None for weights that are not from a file."""


def read_checkpoint(address: str) -> Checkpoint:
    """Return the weights and metadata of a file, URL, `package://` or `hf-hub://` address.

    Raises:
        CheckpointError: if it is missing, truncated, not a checkpoint, or would run code when unpickled.
    """
    path = locate(address)
    content = _load(path, address if str(path) == address else f"{address} ({path})")
    meta = content.get("meta") if isinstance(content, Mapping) else None
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Checkpoint(_state(content, address), dict(meta) if isinstance(meta, Mapping) else {}, address, digest)


def read_content(address: str) -> Any:
    """Return the whole content of a checkpoint file as plain data.

    Raises:
        CheckpointError: if it is missing, truncated, not a checkpoint, or would run code when unpickled.
    """
    path = locate(address)
    return _load(path, address if str(path) == address else f"{address} ({path})")


def _load(path: Path, address: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns about stand-ins and old formats; the result is checked below
        if path.suffix == ".safetensors":
            return _load_safetensors(path, address)
        stand_ins: list[Any] = [(_StandIn, name) for name in _INERT]
        try:
            with torch.serialization.safe_globals(stand_ins):
                return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise CheckpointError(_refusal(path, address, error)) from error
        except PermissionError as error:
            raise CheckpointError(f"Cannot read checkpoint '{address}': {error.strerror or error}.") from error
        except Exception as error:
            # Truncated and foreign files raise many kinds of exceptions, none of which names the file.
            raise CheckpointError(
                f"Checkpoint '{address}' is damaged, truncated, or not a PyTorch file ({type(error).__name__}); "
                "expected a file written by torch.save. Copy or download it again."
            ) from error


def _load_safetensors(path: Path, address: str) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except Exception as error:  # exceptions of safetensors and of the operating system
        raise CheckpointError(f"Checkpoint '{address}' cannot be read as safetensors: {error}.") from error


_REFUSED = re.compile(r"GLOBAL (\S+) was not an allowed global|GLOBAL (\S+) whose module")


def _refusal(path: Path, address: str, error: pickle.UnpicklingError) -> str:
    unsafe = {name for names in _REFUSED.findall(str(error)) for name in names if name}  # torch names the first one only
    if unsafe and zipfile.is_zipfile(path):
        unsafe.update(name for name in torch.serialization.get_unsafe_globals_in_checkpoint(str(path)) if name not in _INERT)
    if not unsafe:
        return f"Checkpoint '{address}' is damaged, or not a PyTorch file of tensors; expected a file written by torch.save(state_dict)."
    return (
        f"Checkpoint '{address}' was not loaded: unpickling it would run {', '.join(sorted(unsafe)[:5])}. "
        "Expected tensors only. If you trust the file, load it with torch.load and save its state_dict."
    )


def _state(content: Any, address: str) -> dict[str, Tensor]:
    for key in _STATE_KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    state = {str(key): value for key, value in content.items() if isinstance(value, Tensor)} if isinstance(content, Mapping) else {}
    if not state:
        raise CheckpointError(f"Checkpoint '{address}' contains no tensors by name; expected a state_dict, or a dict with 'state_dict'.")
    while prefix := next((prefix for prefix in _PREFIXES if all(key.startswith(prefix) for key in state)), ""):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def map_keys(state: Mapping[str, Tensor], rules: Sequence[Any]) -> dict[str, Tensor]:
    """Return `state` with each key rewritten by every (regular expression, replacement) rule in turn.

    Raises:
        CheckpointError: if two keys become the same, or a rule is not of this form.

    Example:
        >>> list(map_keys({"fc.weight": torch.zeros(2, 3)}, [(r"^fc\\.", "head.fc.")]))
        ['head.fc.weight']
    """
    try:
        compiled = [(re.compile(pattern), replacement) for pattern, replacement in rules]
        mapped: dict[str, Tensor] = {}
        for key, value in state.items():
            new = key
            for pattern, replacement in compiled:
                new = pattern.sub(replacement, new)
            if new in mapped:
                raise CheckpointError(
                    f"cam.checkpoint_keys maps several keys to '{new}', '{key}' among them; expected a different name for each."
                )
            mapped[new] = value
    except (re.error, TypeError, ValueError) as error:
        raise CheckpointError(f"cam.checkpoint_keys must be a list of (regular expression, replacement): {error}.") from error
    return mapped


def best_fit(own: Iterable[str], state: Mapping[str, Tensor], rules: Sequence[Any] = ()) -> Mapping[str, Tensor]:
    """Return `state` renamed so that as many keys as possible are keys of the network (`own`).

    Tried are: with and without the `rules` of `map_keys`, and each with the prefix `model.` or `module.` removed or added.

    Raises:
        CheckpointError: if the rules cannot be applied.
    """
    names = set(own)
    candidates = [state, *(_without(prefix, state) for prefix in _PREFIXES)]
    if rules:  # they are for the checkpoint that the config names; one saved from this network needs none
        candidates = [*(map_keys(candidate, rules) for candidate in candidates), *candidates]
    candidates += [{f"{prefix}{key}": value for key, value in candidate.items()} for prefix in _PREFIXES for candidate in candidates]
    return max(candidates, key=lambda candidate: len(names & candidate.keys()))


def _without(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return `state` with the prefix removed from keys that have it; these replace other keys of the same name."""
    others = {key: value for key, value in state.items() if not key.startswith(prefix)}
    return {**others, **{key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}}


def load_into(model: nn.Module, state: Mapping[str, Tensor], address: str) -> KeyCounts:
    """Load `state` into `model` and return the numbers of loaded, missing and unexpected keys.

    Missing buffers and unexpected keys are warned about.

    Raises:
        CheckpointError: if a parameter is missing or has another shape.

    Example:
        >>> model = nn.Linear(2, 1)
        >>> print(load_into(model, {"weight": torch.ones(1, 2), "bias": torch.zeros(1)}, "checkpoint.pth"))
        2 of 2 keys loaded, 0 missing, 0 unexpected
    """
    expected = len(model.state_dict())
    try:
        missing, unexpected = model.load_state_dict(_with_versions(state, model), strict=False)
    except Exception as error:  # besides shapes, conversion hooks of models raise on foreign keys
        raise CheckpointError(_mismatch(error, address)) from error
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    counts = KeyCounts(expected - len(missing), len(missing), len(unexpected))
    missing_parameters = [name for name in missing if name in parameters]
    if missing_parameters:
        raise CheckpointError(
            f"Checkpoint '{address}' does not fit this network: {counts}. Missing parameters: {some(missing_parameters)}."
            f"{f' Unexpected: {some(unexpected)}.' if unexpected else ''} "
            "Give a checkpoint of this network, or rename its keys by cam.checkpoint_keys in the config."
        )
    missing_buffers = [name for name in missing if not name.endswith(_BATCH_COUNTER)]
    if missing_buffers or unexpected:
        details = [f"{kind} {some(names)}" for kind, names in (("missing buffers", missing_buffers), ("unexpected", unexpected)) if names]
        warn(f"Checkpoint '{address}': {counts}: {'; '.join(details)}.")
    return counts


_BATCH_COUNTER = "num_batches_tracked"  # of batch norms; files from before torch 0.4.1 lack it, without effect on the scores


def _with_versions(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Return `state` marked with the current versions of batch norms; older ones fill in missing buffers, which torch counts as loaded."""
    versioned: Any = OrderedDict(state)
    norms = {path: module for path, module in model.named_modules() if isinstance(module, nn.modules.batchnorm._NormBase)}
    versioned._metadata = {path: {"version": module._version} for path, module in norms.items()}
    return versioned


_SIZE = re.compile(r"size mismatch for (\S+): copying a param with shape torch.Size\((.*?)\) from checkpoint, .*?torch.Size\((.*?)\)")


def _mismatch(error: Exception, address: str) -> str:
    sizes = _SIZE.findall(str(error))
    if not sizes:
        return f"Checkpoint '{address}' does not fit this network: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
    shown = "; ".join(f"{name} is {theirs} in the checkpoint and {ours} in the network" for name, theirs, ours in sizes[:3])
    more = f" and {len(sizes) - 3} more" if len(sizes) > 3 else ""
    hint = ""
    for name, theirs, ours in sizes:
        their, our = theirs.strip("[]").split(", "), ours.strip("[]").split(", ")
        if "head" in name and their[1:] == our[1:] and their[0] != our[0]:
            hint = f" Its head has {their[0]} classes; try --cfg-options model.head.num_classes={their[0]}."
            break
    return f"Checkpoint '{address}' does not fit this network; {len(sizes)} shapes differ: {shown}{more}.{hint}"
