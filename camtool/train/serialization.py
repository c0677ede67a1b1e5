"""Plain data: what `torch.load(weights_only=True)` reads back without running anything from the file."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor

from camtool.errors import CheckpointError

_PLAIN = (bool, int, float, complex, str, bytes)


def plain(value: Any, name: str = "checkpoint") -> Any:
    """Return `value` with dicts, sequences, numpy arrays and scalars as Python's and torch's own; `name` says where it stands.

    Raises:
        CheckpointError: for an object that only its own class could read back.
    """
    if value is None or type(value) in _PLAIN:
        return value
    if isinstance(value, Tensor):
        return value if type(value) is Tensor else value.detach()  # a parameter
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value.tolist()
    if isinstance(value, Mapping):
        return {plain(key, name): plain(item, f"{name}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [plain(item, f"{name}[{index}]") for index, item in enumerate(value)]
        return items if isinstance(value, list) else tuple(items)
    if isinstance(value, (set, frozenset)):
        return {plain(item, name) for item in value}
    raise CheckpointError(
        f"'{name}' of the checkpoint is a {type(value).__module__}.{type(value).__qualname__}, which cannot be read back safely; "
        "expected numbers, texts, tensors, lists and dicts."
    )


def plain_schedulers(schedulers: Any) -> Any:
    """Return the states of parameter schedulers as plain data, without functions (OneCycleLR's annealing): the config gives these anew."""
    if isinstance(schedulers, Mapping):  # of several optimisers
        return {name: plain_schedulers(of_one) for name, of_one in schedulers.items()}
    return [
        {key: plain(value, f"param_schedulers[{index}].{key}") for key, value in state.items() if not callable(value)}
        for index, state in enumerate(schedulers)
    ]


def plain_hub(hub: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state of a message hub as plain data; a note of other kinds, which no log needs, is left out."""
    notes = {}
    for key, value in hub["runtime_info"].items():
        try:
            notes[key] = plain(value)
        except CheckpointError:
            continue
    scalars = {key: _plain_history(history) for key, history in hub["log_scalars"].items()}
    known = {key: bool(resumed) for key, resumed in hub["resumed_keys"].items() if key in scalars or key in notes}
    return {"log_scalars": scalars, "runtime_info": notes, "resumed_keys": known}


def hub_from_plain(hub: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `MessageHub.load_state_dict` takes, from `plain_hub`'s or mmengine's own (whose histories are not read)."""
    histories = {key: _history(saved) for key, saved in hub["log_scalars"].items() if isinstance(saved, Mapping)}
    known = {key: resumed for key, resumed in hub["resumed_keys"].items() if key in histories or key in hub["runtime_info"]}
    return {"log_scalars": histories, "runtime_info": dict(hub["runtime_info"]), "resumed_keys": known}


def _plain_history(history: HistoryBuffer) -> dict[str, Any]:
    values, counts = history.data
    return {"values": torch.from_numpy(values.copy()), "counts": torch.from_numpy(counts.copy()), "max_length": history.max_length}


def _history(saved: Mapping[str, Any]) -> HistoryBuffer:
    return HistoryBuffer(saved["values"].numpy(), saved["counts"].numpy(), saved["max_length"])
