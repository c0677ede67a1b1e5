"""Convert training states to plain data, which `torch.load(weights_only=True)` can read, and back."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor

from camtool.errors import CheckpointError

_PLAIN = (bool, int, float, complex, str, bytes)


def plain(value: Any, name: str = "checkpoint") -> Any:
    """Return `value` as plain data: mappings, sequences, numpy arrays and scalars become Python's own types, tensors stay.

    Args:
        name: path of the value in the checkpoint, for the message.

    Raises:
        CheckpointError: if the value contains an object of another class.
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
        "expected numbers, strings, tensors, lists and dicts."
    )


def plain_schedulers(schedulers: Any) -> Any:
    """Return the states of parameter schedulers as plain data, without functions (OneCycleLR's annealing), which the config defines."""
    if isinstance(schedulers, Mapping):  # by optimizer
        return {name: plain_schedulers(states) for name, states in schedulers.items()}
    return [
        {key: plain(value, f"param_schedulers[{index}].{key}") for key, value in state.items() if not callable(value)}
        for index, state in enumerate(schedulers)
    ]


def plain_hub(hub: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state of a message hub as plain data; runtime information of other types is left out."""
    info = {}
    for key, value in hub["runtime_info"].items():
        try:
            info[key] = plain(value)
        except CheckpointError:
            continue
    scalars = {key: _plain_history(history) for key, history in hub["log_scalars"].items()}
    resumed_keys = {key: bool(resumed) for key, resumed in hub["resumed_keys"].items() if key in scalars or key in info}
    return {"log_scalars": scalars, "runtime_info": info, "resumed_keys": resumed_keys}


def hub_from_plain(hub: Mapping[str, Any]) -> dict[str, Any]:
    """Return the argument of `MessageHub.load_state_dict` for the result of `plain_hub`; mmengine's own histories are left out."""
    histories = {key: _history(saved) for key, saved in hub["log_scalars"].items() if isinstance(saved, Mapping)}
    resumed_keys = {key: resumed for key, resumed in hub["resumed_keys"].items() if key in histories or key in hub["runtime_info"]}
    return {"log_scalars": histories, "runtime_info": dict(hub["runtime_info"]), "resumed_keys": resumed_keys}


def _plain_history(history: HistoryBuffer) -> dict[str, Any]:
    values, counts = history.data
    return {"values": torch.from_numpy(values.copy()), "counts": torch.from_numpy(counts.copy()), "max_length": history.max_length}


def _history(saved: Mapping[str, Any]) -> HistoryBuffer:
    return HistoryBuffer(saved["values"].numpy(), saved["counts"].numpy(), saved["max_length"])
