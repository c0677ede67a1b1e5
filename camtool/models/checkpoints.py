"""Checkpoints: read safely (no code of the file is run), rename keys to those of a network."""

import hashlib
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from camtool.errors import CheckpointError, is_out_of_memory, warn
from camtool.models.filling import KeyCounts, load_into
from camtool.models.hub import locate
from camtool.models.key_matching import Match, best_fit, containers_of, find_weights, usual_first
from camtool.models.key_rules import map_keys, without_common_prefixes
from camtool.models.torchscript import is_torchscript, read_torchscript

__all__ = ["Checkpoint", "KeyCounts", "best_fit", "load_into", "locate", "map_keys", "read_checkpoint", "read_content"]


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
class Checkpoint:
    """Weights and metadata of a checkpoint."""

    state: dict[str, Tensor]
    """Weights by key, of the container that is usual, without the prefixes that all of them have; {} if the network has them already."""
    meta: dict[str, Any]
    """The file's `meta` dict, {} if it has none."""
    address: str
    """Path, URL or `package://` address."""
    digest: str | None
    """Sha256 of the file; None for weights that are not from a file."""
    containers: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict, repr=False)
    """All tensors of the file, by the dotted path of the dict they are in, and key; {}: `state` is all there is."""

    def weights_for(self, own: Mapping[str, Tensor], rules: Sequence[Any] = (), key: str = "") -> Match:
        """Return the weights of a network with the tensors `own`, as `find_weights` finds them; CheckpointError names the file."""
        try:
            return find_weights(own, self.containers or {"": self.state}, rules, key)
        except CheckpointError as error:
            raise CheckpointError(f"Checkpoint '{self.address}': {error}") from error


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
    containers = _contents(content, address)
    state = without_common_prefixes(containers[min(containers, key=usual_first)])
    return Checkpoint(state, dict(meta) if isinstance(meta, Mapping) else {}, address, digest, containers)


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
        torchscript = is_torchscript(path)
    if torchscript:
        state = read_torchscript(path, address)
        warn(f"Checkpoint '{address}' is a TorchScript file: its weights are taken, its code is not run.")
        return state
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stand_ins: list[Any] = [(_StandIn, name) for name in _INERT]
        try:
            with torch.serialization.safe_globals(stand_ins):
                return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise CheckpointError(_refusal(path, address, error)) from error
        except PermissionError as error:
            raise CheckpointError(f"Cannot read checkpoint '{address}': {error.strerror or error}.") from error
        except Exception as error:
            if is_out_of_memory(error):
                raise
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


def _contents(content: Any, address: str) -> dict[str, dict[str, Tensor]]:
    containers = containers_of(content)
    if not containers:
        raise CheckpointError(f"Checkpoint '{address}' contains no tensors by name; expected a state_dict, or a dict with 'state_dict'.")
    return containers
