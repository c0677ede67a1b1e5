"""Entrances: a layer's input as a layer of its own, "layer4[0]:input", for the length of a call.

A module that returns what it is given is put into the layer, which passes its input through it. To everything else it is a layer
as others are: its output is captured, replaced, measured and replayed, as that of an nn.Identity in front of the layer would be.
"""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from camtool.errors import LayerError
from camtool.instrumentation.calls import Changes
from camtool.instrumentation.layer_paths import ENTRANCE, find_layer
from camtool.instrumentation.nested import mapped, tensors_in
from camtool.instrumentation.place import Place


class Entrance(nn.Module):
    """Returns what it is given; camtool calls it with the input tensors of the layer that it is in."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path
        self._thread = threading.get_ident()
        self._is_open = False

    def through(self, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return the tensors, or what is put in their place."""
        self._is_open = True
        try:
            passed: tuple[Tensor, ...] = self(tensors)
        finally:
            self._is_open = False
        return passed

    def forward(self, tensors: Any) -> Any:
        """Return `tensors`; LayerError if it is the layer that calls, because it runs all of its parts one by one."""
        if not self._is_open and threading.get_ident() == self._thread:
            raise LayerError(
                f"The input of layer '{self._path.removesuffix(ENTRANCE)}' cannot be asked for, because the layer runs whatever parts it "
                "has; name the input of its first part, or the layer in front."
            )
        return tensors


@contextmanager
def entrances(model: nn.Module, paths: Iterable[str]) -> Iterator[None]:
    """Let the layers whose input is among `paths` ("layer4[0]:input") pass it through a part of theirs, which `find_layer` finds.

    Args:
        paths: canonical ones; those of layers themselves are left alone.
    """
    with Changes() as changes:
        for path in paths:
            if path.endswith(ENTRANCE):
                _add(find_layer(model, path.removesuffix(ENTRANCE))[1], path, changes)
        yield


def _add(layer: nn.Module, path: str, changes: Changes) -> None:
    entrance, forward = Entrance(path).train(layer.training), layer.forward

    def entered(*arguments: Any, **keywords: Any) -> Any:
        given = list(tensors_in((arguments, keywords)))
        passed = entrance.through(tuple(given))
        pairs = [(old, tensor, tensor._version) for old, tensor in zip(given, passed, strict=True) if tensor is not old]
        new = {id(old): tensor for old, tensor, _ in pairs}

        def exchanged(argument: Any) -> Any:
            # Only what holds a replaced tensor is copied: a layer may write into a cache that it is given.
            if not any(id(tensor) in new for tensor in tensors_in(argument)):
                return argument
            return mapped(argument, lambda tensor: new.get(id(tensor), tensor))

        output = forward(*map(exchanged, arguments), **{name: exchanged(argument) for name, argument in keywords.items()})
        for old, tensor, version in pairs:
            if tensor._version != version:  # the layer works in place, and what goes around it sees that
                old.copy_(tensor)
        return output

    # In front of the other parts, as it runs before them; a new dict, since other threads may be going through the old one.
    changes.put(Place(vars(layer), "_modules"), {ENTRANCE: entrance, **layer._modules})
    changes.replace_forward(layer, entered)
