"""Fill a network with the weights of a checkpoint, and measure which of its own tensors were filled."""

import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from camtool.errors import CheckpointError, some, warn


@dataclass(frozen=True)
class KeyCounts:
    """Numbers of a network's tensors that a checkpoint filled (loaded) and left (missing), and of its other keys (unexpected)."""

    loaded: int
    missing: int
    unexpected: int

    def __str__(self) -> str:
        return f"{self.loaded} of {self.loaded + self.missing} keys loaded, {self.missing} missing, {self.unexpected} unexpected"


def load_into(model: nn.Module, state: Mapping[str, Tensor], address: str, remark: str = "", classes_option: str = "") -> KeyCounts:
    """Load `state` into `model` and return the numbers of loaded, missing and unexpected keys.

    Counted are the parameters and persistent buffers that the network has, not what its `state_dict()` or `load_state_dict()` report,
    which may leave base weights out. Missing buffers, unexpected keys and the `remark` are warned about. A name whose tensor the network
    has under another name too (tied weights) may be left out.

    Args:
        classes_option: the override by which this network has another number of classes, with {} for it.

    Raises:
        CheckpointError: if a parameter is missing, has another shape or another kind of numbers; the missing keep their values.

    Example:
        >>> model = nn.Linear(2, 1)
        >>> print(load_into(model, {"weight": torch.ones(1, 2), "bias": torch.zeros(1)}, "checkpoint.pth"))
        2 of 2 keys loaded, 0 missing, 0 unexpected
    """
    own = own_tensors(model)
    _check_numbers(own, state, address)
    state = _with_tied_names(own, state, address)
    with _watched(model, own, state) as unfilled:
        try:
            reported = model.load_state_dict(_with_versions(state, model), strict=False)
        except Exception as error:  # besides shapes, conversion hooks of models raise on foreign keys
            raise CheckpointError(_mismatch(error, address, classes_option)) from error
    # A network may override load_state_dict and return nothing.
    reported_missing, unexpected = reported if isinstance(reported, tuple) and len(reported) == 2 else ((), ())
    missing = [*unfilled, *(name for name in reported_missing if name not in own)]  # the second: what get_extra_state() returned
    counts = KeyCounts(len(own) - len(unfilled), len(missing), len(unexpected))
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    missing_parameters = [name for name in missing if name in parameters]
    if missing_parameters:
        adapters = "Its keys are LoRA adapters: merge them into the base weights and save those. " if any(map(_LORA.search, state)) else ""
        raise CheckpointError(
            f"Checkpoint '{address}' does not fit this network: {counts}. Missing parameters: {some(missing_parameters)}."
            f"{f' Unexpected: {some(unexpected)}.' if unexpected else ''} {adapters}"
            "Give a checkpoint of this network, or rename its keys by cam.checkpoint_keys in the config."
        )
    missing_buffers = [name for name in missing if not name.endswith(_BATCH_COUNTER)]
    details = [f"{kind} {some(names)}" for kind, names in (("missing buffers", missing_buffers), ("unexpected", unexpected)) if names]
    if details or remark:
        warn(f"Checkpoint '{address}': {counts}{': ' * bool(details)}{'; '.join(details)}.{f' {remark}' if remark else ''}")
    return counts


_BATCH_COUNTER = "num_batches_tracked"  # of batch norms; files from before torch 0.4.1 lack it, without effect on the scores
_LORA = re.compile(r"(^|[._])lora_", re.IGNORECASE)


def own_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return the parameters and persistent buffers of a network by every name that they have.

    Example:
        >>> list(own_tensors(nn.Linear(2, 1)))
        ['weight', 'bias']
    """
    found: dict[str, Tensor] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        buffers = {name: value for name, value in module._buffers.items() if name not in module._non_persistent_buffers_set}
        for name, value in {**module._parameters, **buffers}.items():
            if value is not None:
                found[f"{path}.{name}" if path else name] = value
    return found


def _check_numbers(own: Mapping[str, Tensor], state: Mapping[str, Tensor], address: str) -> None:
    """Raise if torch would cast in silence what is no weight: complex numbers lose their imaginary part, codes become values."""
    for name, tensor in own.items():
        given = state.get(name)
        if given is None or is_lazy(tensor):
            continue
        loses = given.is_complex() and not tensor.is_complex()
        codes = isinstance(tensor, nn.Parameter) and tensor.is_floating_point() and not (given.is_floating_point() or given.is_complex())
        if loses or codes:
            theirs, ours = (str(value.dtype).removeprefix("torch.") for value in (given, tensor))
            raise CheckpointError(
                f"Checkpoint '{address}' does not fit this network: {name} is {theirs} in the checkpoint and {ours} in the network. "
                f"Expected {'real' if loses else 'floating-point'} numbers; try a checkpoint whose weights are saved as such."
            )


def _with_tied_names(own: Mapping[str, Tensor], state: Mapping[str, Tensor], address: str) -> dict[str, Tensor]:
    """Return `state` with each tensor under every name that the network has it by; safetensors keep one of them."""
    full = dict(state)
    names_of: dict[int, list[str]] = {}
    for name, tensor in own.items():
        names_of.setdefault(id(tensor), []).append(name)
    for names in names_of.values():
        given = [name for name in names if name in full]
        if not given or len(names) == 1:
            continue
        first = full[given[0]]
        if other := next((name for name in given[1:] if not torch.equal(first, full[name])), None):
            raise CheckpointError(
                f"Checkpoint '{address}' does not fit this network: it has different weights for {given[0]} and {other}, which are one "
                "tensor in the network. Expected a checkpoint of this network, or a network that does not tie them."
            )
        full.update(dict.fromkeys(names, first))
    return full


@contextmanager
def _watched(model: nn.Module, own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> Iterator[list[str]]:
    """Yield a list that has, after the block, the names in `own` that the block filled with nothing; these keep their values.

    What `state` lacks, or has of another shape, is marked by NaN, which a network that completes a file from its own weights copies and
    does not fill. The rest is filled if it was written to, or equals `state`.
    """
    unfilled: list[str] = []
    shapes = {name: value.shape for name, value in state.items()}
    kept = {name: tensor.detach().clone() for name, tensor in own.items() if not is_lazy(tensor) and shapes.get(name) != tensor.shape}
    versions = {name: _version(tensor) for name, tensor in own.items()}
    with torch.no_grad():
        for name in kept:
            _mark(own[name])
    try:
        yield unfilled
    finally:
        current = own_tensors(model)
        for name, tensor in own.items():
            now = current.get(name, tensor)
            if name in kept:
                filled = not _is_marked(now)
            else:
                filled = now is not tensor or _version(now) != versions[name] or _equal(now, state.get(name))
            if not filled:
                unfilled.append(name)
        with torch.no_grad():
            for name in set(unfilled) & kept.keys():
                current.get(name, own[name]).copy_(kept[name])


def _version(tensor: Tensor) -> int | None:
    return None if is_lazy(tensor) or tensor.is_inference() else tensor._version


def _equal(tensor: Tensor, given: Tensor | None) -> bool:
    # Written by `.data`, which no version counts.
    return given is not None and not is_lazy(tensor) and tensor.shape == given.shape and torch.equal(tensor, given.to(tensor))


def _mark(tensor: Tensor) -> None:
    if tensor.is_floating_point() or tensor.is_complex():
        tensor.fill_(torch.nan)
    elif tensor.dtype != torch.bool:
        tensor.fill_(torch.iinfo(tensor.dtype).min)


def _is_marked(tensor: Tensor) -> bool:
    if is_lazy(tensor) or tensor.dtype == torch.bool:
        return True
    if tensor.is_floating_point() or tensor.is_complex():
        return bool(tensor.isnan().all())
    return bool((tensor == torch.iinfo(tensor.dtype).min).all())


def _with_versions(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Return `state` marked with the current versions of batch norms; older ones fill in missing buffers, which torch counts as loaded."""
    versioned: Any = OrderedDict(state)
    norms = {path: module for path, module in model.named_modules() if isinstance(module, nn.modules.batchnorm._NormBase)}
    versioned._metadata = {path: {"version": module._version} for path, module in norms.items()}
    return versioned


_SIZE = re.compile(r"size mismatch for (\S+): copying a param with shape torch.Size\((.*?)\) from checkpoint, .*?torch.Size\((.*?)\)")


def _mismatch(error: Exception, address: str, classes_option: str) -> str:
    sizes = _SIZE.findall(str(error))
    if not sizes:
        return f"Checkpoint '{address}' does not fit this network: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
    shown = "; ".join(f"{name} is {theirs} in the checkpoint and {ours} in the network" for name, theirs, ours in sizes[:3])
    more = f" and {len(sizes) - 3} more" if len(sizes) > 3 else ""
    split = [(theirs.strip("[]").split(", "), ours.strip("[]").split(", ")) for _, theirs, ours in sizes]
    # Of a head with other classes the first axis of weight and bias differs, in the same numbers, and nothing else; it is linear.
    counts = {(their[0], our[0]) for their, our in split}
    hint = ""
    weights_alone = all(their[1:] == our[1:] and their[0] != our[0] and set(our[2:]) <= {"1"} for their, our in split)
    if classes_option and len(counts) == 1 and weights_alone:
        count = split[0][0][0]
        hint = f" The checkpoint has {count} classes; try --cfg-options {classes_option.format(count)}."
    return f"Checkpoint '{address}' does not fit this network; {len(sizes)} shapes differ: {shown}{more}.{hint}"
