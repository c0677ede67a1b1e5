"""Tensors of a module's output that are kept: on the module itself, on another one, in a list of the network's, in a wrapper's closure."""

import gc
import sys
from collections.abc import Iterator, Sequence
from types import CellType, FrameType
from typing import Any

import torch
from torch import Tensor, nn

from camtool.instrumentation.calls import Changes
from camtool.instrumentation.nested import mapped, tensors_in
from camtool.instrumentation.place import ITEMS, Place
from camtool.instrumentation.traversal import modules_of

_DEPTH = 3  # of lists and dicts on a module
_LENGTH = 1000  # longer ones hold no features
_TUPLES = 5  # inside each other
_PLAIN = frozenset((bool, int, float, str, type(None)))  # what most attributes are; each pass of a network goes through all
_WEIGHTS = frozenset((nn.Parameter, type(None)))
_PARTS_OF_MODULES = frozenset(vars(nn.Module()))  # parameters and hooks, which are no views of an output


class Kept:
    """A tensor of a module's output that somebody keeps, or a tuple with it.

    Args:
        place: where.
        numbers: number among the output's tensors, by the tensor's id.
    """

    __slots__ = ("_numbers", "_value", "place")  # not a dict, so that the one who refers to the value is known as such

    def __init__(self, place: Place, numbers: dict[int, int]) -> None:
        self.place = place
        self._value = place.read()
        self._numbers = numbers

    def put(self, tensors: Sequence[Tensor], changes: Changes) -> None:
        """Keep these tensors of an output there instead, until the changes are undone."""
        numbers = self._numbers
        put = mapped(self._value, lambda tensor: tensors[numbers[id(tensor)]] if id(tensor) in numbers else tensor)
        changes.put(self.place, put)


class KeptView:
    """A view of a tensor of a module's output, such as `output.flatten(2)`, that the module or a part of it keeps."""

    __slots__ = ("_number", "_offset", "_output", "_view", "place")

    def __init__(self, place: Place, number: int, output: Tensor, view: Tensor) -> None:
        self.place = place
        self._number = number
        self._offset = view.storage_offset() - output.storage_offset()
        self._output = output.shape, output.stride()
        self._view = view.shape, view.stride()

    def put(self, tensors: Sequence[Tensor], changes: Changes) -> None:
        """Keep the same view of another output there instead, until the changes are undone."""
        base = tensors[self._number]
        if (base.shape, base.stride()) != self._output:
            base = torch.empty_strided(*self._output, dtype=base.dtype, device=base.device).copy_(base)
        changes.put(self.place, base.as_strided(*self._view, base.storage_offset() + self._offset))


def find_kept(module: nn.Module, held: list[Any], arguments: Any = ()) -> list[Kept | KeptView]:
    """Return where tensors of a module's output are kept, and where the module and its parts keep views of them.

    As long as nobody but `held` has a reference to them, which costs nothing to see, the tensors are not. Else the module and its parts are
    searched, and if that does not explain all references, whatever refers to the tensors; about 50 ms.

    Args:
        held: the module's output as its only item. The caller must have no other reference to it.
        arguments: of the call. Tensors of the output that are among them, as an identity's or an in-place module's, are not looked for
            elsewhere: those who have these may have them from before.
    """
    references = _references(held)
    views = list(_views_on(module, held[0], arguments))
    if max(references, default=0) <= _FREE:
        return [*views]
    output = held[0]
    numbers = {id(tensor): number for number, tensor in enumerate(tensors_in(output))}
    found = list(_on(module, numbers))
    given = {id(tensor) for tensor in tensors_in(arguments)}
    tensors = [tensor for tensor in tensors_in(output) if id(tensor) not in given]
    if tensors and sum(references) - _FREE * len(references) > len(found):
        known = {kept.place.name for kept in found}
        found += [kept for kept in _elsewhere(tensors, held, numbers) if kept.place.name not in known]
    return [*found, *views]


def _references(held: list[Any]) -> list[int]:
    """Return the number of references to each tensor."""
    tensors = list(tensors_in(held))
    return [sys.getrefcount(tensors[number]) for number in range(len(tensors))]


_FREE = _references([torch.empty(0, device="cpu")])[0]
"""That of a tensor that nobody keeps."""


def tensors_on(module: nn.Module) -> Iterator[tuple[Any, Any, Tensor | tuple[Any, ...]]]:
    """Yield (container, key, value) of each tensor that the module itself keeps, or tuple with more than numbers: as attribute, in a list
    or dict.
    """
    return _tensors_within(vars(module), _DEPTH)


def keeps_weights_only(module: nn.Module) -> bool:
    """Return whether `tensors_on` yields parameters and buffers at most, none made in inference mode; seen in a tenth of its time."""
    for buffer in module._buffers.values():
        if buffer is not None and (type(buffer) is not Tensor or buffer.is_inference()):
            return False
    if not _WEIGHTS.issuperset(map(type, module._parameters.values())):
        return False
    own = vars(module)
    for name in own.keys() - _PARTS_OF_MODULES:
        value = own[name]
        kind = type(value)
        if kind in (tuple, list, dict):
            if not _PLAIN.issuperset(map(type, value.values() if kind is dict else value)):
                return False
        elif kind not in _PLAIN and isinstance(value, (Tensor, tuple, list, dict)):
            return False
    return True


def _tensors_within(container: Any, depth: int) -> Iterator[tuple[Any, Any, Tensor | tuple[Any, ...]]]:
    for key, value in list(container.items() if isinstance(container, dict) else enumerate(container)):
        if type(value) in _PLAIN:
            continue
        if isinstance(value, (Tensor, tuple)):
            if type(value) is not tuple or not _PLAIN.issuperset(map(type, value)):
                yield container, key, value
        elif depth and isinstance(value, (dict, list)) and 0 < len(value) <= _LENGTH:
            yield from _tensors_within(value, depth - 1)


def _on(module: nn.Module, numbers: dict[int, int]) -> Iterator[Kept]:
    """Yield where a module and its parts keep tensors: as attributes, in lists and dicts."""
    for part in modules_of(module):
        for container, key, value in tensors_on(part):
            if any(id(tensor) in numbers for tensor in tensors_in(value)):
                yield Kept(Place(container, key), numbers)


def _views_on(module: nn.Module, output: Any, arguments: Any) -> Iterator[KeptView]:
    """Yield where a module and its parts keep views of its output; a view of its arguments says nothing of the output."""
    given = {_storage(tensor) for tensor in tensors_in(arguments)}
    outputs = {_storage(tensor): (number, tensor) for number, tensor in enumerate(tensors_in(output)) if _is_dense(tensor)}
    own = {storage: found for storage, found in outputs.items() if storage and storage not in given}
    if not own:
        return
    for part in modules_of(module):
        for place, value in _own_tensors(part):
            number, tensor = own.get(_storage(value), (0, value))
            if tensor is not value and _lies_within(value, tensor):
                yield KeptView(place, number, tensor, value)


def _own_tensors(module: nn.Module) -> Iterator[tuple[Place, Tensor]]:
    """Yield the tensors that a module keeps as attributes, in lists and dicts, without its parameters and hooks."""
    for name, attribute in list(vars(module).items()):
        if name in _PARTS_OF_MODULES:
            continue
        if isinstance(attribute, Tensor):
            yield Place(vars(module), name), attribute
        elif isinstance(attribute, (list, dict)) and 0 < len(attribute) <= _LENGTH:
            for container, key, value in _tensors_within(attribute, _DEPTH - 1):
                if isinstance(value, Tensor):
                    yield Place(container, key), value


def _storage(tensor: Tensor) -> int:
    """Return the address of the tensor's memory; 0 without any of its own."""
    try:
        return tensor.untyped_storage().data_ptr()
    except (RuntimeError, NotImplementedError):  # sparse, or wrapped by vmap
        return 0


def _extent(tensor: Tensor) -> int:
    """Return the number of elements from the first to the last in memory."""
    return 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))


def _is_dense(tensor: Tensor) -> bool:
    return bool(tensor.layout == torch.strided and 0 not in tensor.shape and _extent(tensor) == tensor.numel())


def _lies_within(view: Tensor, output: Tensor) -> bool:
    """Return whether the output holds all elements of a view of the same memory; that of which the output is a part has others, too."""
    start = view.storage_offset() - output.storage_offset()
    same = view.dtype == output.dtype and 0 not in view.shape
    return bool(same and start >= 0 and start + _extent(view) <= output.numel())


def _elsewhere(tensors: list[Tensor], held: list[Any], numbers: dict[int, int]) -> Iterator[Kept]:
    """Yield the items and attributes, anywhere, that are one of the tensors, or a tuple with one."""
    own = {id(tensors), id(held), *_containers(held[0])}
    sought: list[Any] = list(tensors)
    for _ in range(_TUPLES):
        tuples = []
        wanted = {id(item) for item in sought}
        for holder in gc.get_referrers(*sought):
            if id(holder) in own or holder is sought or isinstance(holder, (FrameType, Kept)):
                continue
            if isinstance(holder, tuple):
                tuples.append(holder)
            else:
                yield from (Kept(place, numbers) for place in _places(holder, wanted))
        if not tuples:
            return
        sought = tuples
        own |= {id(tuples)}


def _places(holder: Any, wanted: set[int]) -> Iterator[Place]:
    """Yield the place of each wanted item that `holder` has."""
    if isinstance(holder, CellType):
        yield Place(holder, "cell_contents")
    elif isinstance(holder, ITEMS):
        items = list(holder.items() if isinstance(holder, dict) else enumerate(holder))
        yield from (Place(holder, key) for key, value in items if id(value) in wanted)
    else:
        for key, value in list(getattr(holder, "__dict__", {}).items()):
            if id(value) in wanted:
                yield Place(vars(holder), key)
        for kind in type(holder).__mro__:
            slots = kind.__dict__.get("__slots__", ())
            for name in (slots,) if isinstance(slots, str) else slots:
                if id(getattr(holder, name, None)) in wanted:
                    yield Place(holder, name)


def _containers(output: Any) -> Iterator[int]:
    """Yield the ids of an output's own containers."""
    if isinstance(output, (dict, list, tuple)):
        yield id(output)
        if hasattr(output, "__dict__"):  # ModelOutput has its items as attributes, too
            yield id(vars(output))
        for value in output.values() if isinstance(output, dict) else output:
            yield from _containers(value)
