"""Find a network's weights in a checkpoint: under which wrapping names (containers and prefixes) its keys stand."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from camtool.errors import CheckpointError, some
from camtool.models.key_rules import Value, map_keys, usual_names

CONTAINERS = ("state_dict_ema", "model_ema", "params_ema", "state_dict", "model_state_dict", "model")
"""Names that training scripts give the weights, the first preferred: averaged weights before those they average, as timm takes them."""

_WRAPPERS = {"_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
"""What torch.compile, DataParallel and others put before the keys of a network, and of any part of it."""
_KNOWN = _WRAPPERS | {"model", "net", "network", "encoder_q"}  # encoder_q: of MoCo, whose encoder_k is for training alone

_DEEPEST = 6


@dataclass(frozen=True)
class Match:
    """Weights of a checkpoint under the names that a network has for them."""

    state: dict[str, Tensor]
    """By the network's names; and what else stands beside them, by the file's."""
    wrapper: str = ""
    """The names before the weights' own in the file, such as "state_dict.module"; "" if there are none."""
    others: tuple[str, ...] = ()
    """Wrappers of other weights in the file that fit the network as well; "" is the file itself."""
    whole: bool = True
    """Whether every parameter is there, in its shape."""


class _Entry(NamedTuple):
    container: str
    name: str
    value: Tensor

    @property
    def path(self) -> str:
        return f"{self.container}.{self.name}" if self.container else self.name


def containers_of(content: Any, path: str = "", depth: int = 0) -> dict[str, dict[str, Tensor]]:
    """Return the dicts of tensors in the content of a file by their dotted path; that of the content itself is "".

    Example:
        >>> list(containers_of({"epoch": 3, "ema": {"net": {"fc.weight": torch.zeros(2, 3)}}}))
        ['ema.net']
    """
    if not isinstance(content, Mapping) or depth > _DEEPEST:
        return {}
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    found = {path: tensors} if tensors else {}
    for key, value in content.items():
        found.update(containers_of(value, f"{path}.{key}" if path else str(key), depth + 1))
    return found


def find_weights(
    own: Mapping[str, Tensor], containers: Mapping[str, Mapping[str, Tensor]], rules: Sequence[Any] = (), key: str = ""
) -> Match:
    """Return the weights of a network with the tensors `own`, wherever they stand in a file.

    Every name that leads to a full match is a wrapper: a container, a prefix of the keys, or several. Of several, averaged weights come
    first, then the usual containers, then the shortest prefix; `others` names the rest. Without any, the result is what fits best.

    Args:
        containers: of `containers_of`.
        rules: of `map_keys`.
        key: wrapper to take, or a part of it, such as "state_dict" or "encoder_k"; "": any.

    Raises:
        CheckpointError: if there is no such wrapper, several of equal standing have different weights, or the rules cannot be applied.

    Example:
        >>> own = {"fc.weight": torch.zeros(2, 3)}
        >>> find_weights(own, {"net": {"module.fc.weight": torch.ones(2, 3)}}).wrapper
        'net.module'
    """
    entries = [_Entry(path, name, value) for path, tensors in containers.items() for name, value in tensors.items()]
    if key:
        entries = _chosen(entries, key)
    matches = sorted(_matches(own, entries, rules), key=lambda match: _rank(match, own))
    if key:
        by_name = ([match for match in matches if fits(match.wrapper, key)] for fits in (str.__eq__, _leads, _has))
        matches = next((some_of_them for some_of_them in by_name if some_of_them), [])
    if not matches:
        return _best(own, entries, rules)
    first = matches[0]
    others = [match for match in matches[1:] if _differs(first, match, own)]
    equal = [match.wrapper for match in others if _rank(match, own) == _rank(first, own)]
    if equal:
        raise CheckpointError(
            "Expected one set of weights that fits this network, got several: "
            f"{some([repr(name) for name in (first.wrapper, *equal)], 8)}. "
            f"Choose by --checkpoint-key {equal[-1]}, or cam.checkpoint_key in the config."
        )
    others_named = tuple(dict.fromkeys(match.wrapper for match in others))
    return Match(_beside(first, own, entries), first.wrapper, others_named)


def best_fit(own: Mapping[str, Tensor], state: Mapping[str, Tensor], rules: Sequence[Any] = ()) -> dict[str, Tensor]:
    """Return `state` renamed so that as many keys as possible are keys of the network (`own`, its state_dict), as `find_weights` does.

    Raises:
        CheckpointError: as `find_weights`.
    """
    return find_weights(own, {"": state}, rules).state


def _chosen(entries: Sequence[_Entry], key: str) -> list[_Entry]:
    chosen = [entry for entry in entries if _has(entry.path.rpartition(".")[0], key)]
    if not chosen:
        containers = dict.fromkeys(entry.container or entry.name.partition(".")[0] for entry in entries)
        raise CheckpointError(f"No weights under '{key}', of --checkpoint-key; expected one of: {some(list(map(repr, containers)), 12)}.")
    return chosen


def _leads(wrapper: str, key: str) -> bool:
    return f"{wrapper}.".startswith(f"{key}.")


def _has(path: str, key: str) -> bool:
    return f".{key}." in f".{path}."


class _Found(NamedTuple):
    entries: dict[str, _Entry]
    """By the network's names."""
    wrapper: str


def _matches(own: Mapping[str, Tensor], entries: Sequence[_Entry], rules: Sequence[Any]) -> list[_Found]:
    """Return every full match: each parameter of the network is there, in its shape."""
    groups = _needed(own)
    found: dict[tuple[int, ...], _Found] = {}
    for spell in (str, _unwrapped):
        keys = {spell(entry.path): entry for entry in entries}
        names = {spell(name): name for name in own}
        if len(keys) < len(entries) or len(names) < len(own):  # two keys would be one
            continue
        for prefix in _prefixes(keys, len(groups)):
            under = {path[len(prefix) :]: (path[len(prefix) :], entry) for path, entry in keys.items() if path.startswith(prefix)}
            for renamed in _renamed(under, rules):
                for added in _common_prefixes(names):
                    here = {name: renamed[bare] for spelt, name in names.items() if (bare := spelt[len(added) :]) in renamed}
                    here = {name: pair for name, pair in here.items() if pair[1].value.shape == own[name].shape}
                    if not all(any(name in here for name in group) for group in groups):
                        continue
                    bare, entry = next(iter(here.values()))
                    match = _Found({name: pair[1] for name, pair in here.items()}, _wrapper(entry.path, bare))
                    found.setdefault(tuple(id(entry.value) for entry in match.entries.values()), match)
    return list(found.values())


def _needed(own: Mapping[str, Tensor]) -> list[list[str]]:
    """Return the names of each tensor that a match must have: several where one tensor has several (tied weights)."""
    groups: dict[Any, list[str]] = {}
    for name, tensor in own.items():
        if tensor.is_floating_point() or tensor.is_complex():
            place = tensor.data_ptr() if tensor.numel() and tensor.device.type != "meta" else 0
            groups.setdefault((place, tensor.shape, tensor.stride()) if place else name, []).append(name)
    running = [group for group in groups.values() if not group[0].endswith(_OF_BATCHES)]
    return running or list(groups.values())


_OF_BATCHES = ("running_mean", "running_var")  # buffers; a match without them is one, and is told


def _prefixes(keys: Mapping[str, Any], least: int) -> list[str]:
    """Return "" and the dotted prefixes under which there are at least so many keys."""
    counts: Counter[str] = Counter()
    for key in keys:
        counts.update(key[: match.end()] for match in re.finditer(r"\.", key))
    return ["", *(prefix for prefix, count in counts.items() if count >= least)]


def _common_prefixes(names: Mapping[str, Any]) -> list[str]:
    """Return "" and the dotted prefixes that all names have."""
    first = next(iter(names), "")
    prefixes = (first[: match.end()] for match in re.finditer(r"\.", first))
    return ["", *(prefix for prefix in prefixes if all(name.startswith(prefix) for name in names))]


def _unwrapped(key: str) -> str:
    return ".".join(part for part in key.split(".") if part not in _WRAPPERS)


def _wrapper(path: str, bare: str) -> str:
    """Return what stands before the name `bare` in a path, in which wrappers may stand between its parts."""
    parts = path.split(".")
    for part in reversed(bare.split(".")):
        while parts and parts.pop() != part:
            pass
    return ".".join(parts)


def _renamed(state: Mapping[str, Value], rules: Sequence[Any]) -> Iterator[Mapping[str, Value]]:
    if rules:  # they are for the checkpoint that the config names; one saved from this network needs none
        try:
            yield map_keys(state, rules)
        except CheckpointError as error:
            if "several keys" not in str(error):  # of another part of the file the rules may make that
                raise
    yield state


def _rank(match: _Found, own: Mapping[str, Tensor]) -> tuple[int, int, int]:
    """Return the order of a match among others: whole before without buffers, usual containers and short prefixes first."""
    lacks = sum(name not in match.entries and tensor.is_floating_point() for name, tensor in own.items())
    containers = list({entry.container for entry in match.entries.values()})
    usual = usual_first(containers[0])[0] if len(containers) == 1 else len(CONTAINERS)
    parts = match.wrapper.removeprefix(containers[0]).split(".") if len(containers) == 1 else match.wrapper.split(".")
    prefix = [part for part in parts if part]
    return lacks, usual, (1 if _KNOWN.issuperset(prefix) else 2) if prefix else 0


def _differs(first: _Found, other: _Found, own: Mapping[str, Tensor]) -> bool:
    names = [name for name in own if name in first.entries and name in other.entries]
    return not all(torch.equal(first.entries[name].value, other.entries[name].value) for name in names)


def _beside(match: _Found, own: Mapping[str, Tensor], entries: Sequence[_Entry]) -> dict[str, Tensor]:
    """Return the weights of a match, and the other tensors of the dicts that they are from."""
    state = {name: entry.value for name, entry in match.entries.items()}
    used, containers = set(map(id, match.entries.values())), {entry.container for entry in match.entries.values()}
    rest = {entry.name: entry.value for entry in entries if entry.container in containers and id(entry) not in used}
    # What has the name of a weight elsewhere is not it.
    return {**{name: value for name, value in rest.items() if name not in own}, **state}


def _best(own: Mapping[str, Tensor], entries: Sequence[_Entry], rules: Sequence[Any]) -> Match:
    """Return the dict of the file, with or without usual prefixes, that has the most names of the network."""
    states: dict[str, dict[str, Tensor]] = {}
    for entry in entries:
        states.setdefault(entry.container, {})[entry.name] = entry.value
    order = sorted(states, key=usual_first)
    fits = [(container, candidate) for container in order for candidate in usual_names(states[container], rules)]
    container, state = max(fits, key=lambda fit: len(own.keys() & fit[1].keys()))
    return Match(dict(state), container, whole=False)


def usual_first(container: str) -> tuple[int, int]:
    """Return the order in which containers are preferred: those of CONTAINERS, the file itself, then the others."""
    last = container.rpartition(".")[2]
    return (CONTAINERS.index(last) if last in CONTAINERS else len(CONTAINERS) + bool(last)), container.count(".")
