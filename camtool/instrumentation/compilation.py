"""Compilation of what comes before a network's first target layer: layers that only hand a tensor on become one graph.

Each boundary between graphs costs a tensor written and read again, in the memory format of an eager layer, and keeps the compiler from
joining what is small (batch norm, activation, pooling) to what is large.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import filterfalse
from typing import Any

import torch
from torch import Tensor, nn

from camtool.instrumentation.inputs import Inputs
from camtool.instrumentation.module_state import is_scripted
from camtool.instrumentation.nested import tensors_in
from camtool.instrumentation.readers import Readers
from camtool.instrumentation.traversal import modules_of


def compile_before(model: nn.Module, inputs: Inputs, targets: Sequence[nn.Module]) -> None:
    """Have the outermost layers whose calls end before, or with, that of the first target layer compiled at their next call.

    Layers without parameters of their own are compiled only within a chain: see `chains_before`.
    """
    for number, chain in enumerate(chains_before(model, inputs, targets)):
        if any(next(module.parameters(), None) is not None for module in chain):
            forward = _one_after_the_other([module.forward for module in chain])
            for module in chain[1:]:
                vars(module)["forward"] = _as_it_is
            vars(chain[0])["forward"] = torch.compile(_with_own_code(forward, number), dynamic=False, options={"freezing": True})


def chains_before(model: nn.Module, inputs: Inputs, targets: Sequence[nn.Module]) -> list[list[nn.Module]]:
    """Return the outermost modules whose calls end before, or with, that of the first target layer, those of a chain together.

    In a chain each module takes the output of the one before, alone, and nothing else reads that: not even its shape. A target layer, a
    module with hooks and one that is called twice are alone. Runs the network once.
    """
    calls = _Calls(targets)
    with calls.readers, ExitStack() as stack:
        for module in filterfalse(is_scripted, modules_of(model)):
            stack.callback(module.register_forward_pre_hook(calls.begin, with_kwargs=True).remove)
            stack.callback(module.register_forward_hook(calls.end, always_call=False).remove)
        output = inputs.run(model)
    outputs = {id(tensor) for tensor in tensors_in(output)}
    seen_whole = not any(map(is_scripted, modules_of(model)))  # the functions of scripted code are not seen
    enclosing = {module for module in modules_of(model) if any(part in targets for part in modules_of(module))} - set(targets)
    ended = [call for call in calls.until_target if call.module not in enclosing and next(tensors_in(call.output), None) is not None]
    inner = {part for call in ended for part in modules_of(call.module) if part is not call.module}
    chains: list[list[nn.Module]] = []
    last: _Call | None = None
    for call in (call for call in ended if call.module not in inner):
        alone = call.module in targets or call.module._forward_hooks or call.module._forward_pre_hooks
        if last is not None and seen_whole and not alone and calls.only_hands_on(last, call, outputs):
            chains[-1].append(call.module)
        elif not any(call.module in chain for chain in chains):
            chains.append([call.module])
        last = None if alone else call
    return chains


@dataclass(eq=False)
class _Call:
    """One call of a module."""

    module: nn.Module
    argument: Any
    """The only one; None where there are others, or keywords."""
    read: int
    """How many functions had read the argument before the call, since it was made."""
    autocast: tuple[bool, bool]
    output: Any = None
    read_then: int = 0
    """How many functions had read the argument when the call ended."""


class _Calls:
    """The calls of a network's modules in one run, in the order of their ends."""

    def __init__(self, targets: Sequence[nn.Module]) -> None:
        self.readers = Readers(shapes=True)
        self.until_target: list[_Call] = []
        """Those that ended before, or with, the first target layer's."""
        self._targets, self._open, self._count = targets, list[_Call](), dict[nn.Module, int]()

    def begin(self, module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        """Note that a module is called."""
        argument = arguments[0] if len(arguments) == 1 and not keywords else None
        autocast = torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda")
        self._count[module] = self._count.get(module, 0) + 1
        self._open.append(_Call(module, argument, self.readers.of.get(id(argument), 0), autocast))

    def end(self, module: nn.Module, _: Any, output: Any) -> None:
        """Note that a module's call ends."""
        while (call := self._open.pop()).module is not module:  # one that ended by an exception, which the network caught
            pass
        call.output, call.read_then = output, self.readers.of.get(id(call.argument), 0)
        if isinstance(output, Tensor):
            self.readers.of[id(output)] = 0
        if not (self.until_target and self.until_target[-1].module in self._targets):
            self.until_target.append(call)

    def only_hands_on(self, one: _Call, other: _Call, outputs: set[int]) -> bool:
        """Return whether one call's output goes to the other call, and nowhere else."""
        handed = one.output
        if not isinstance(handed, Tensor) or other.argument is not handed or one.autocast != other.autocast:
            return False
        once = self._count[one.module] == self._count[other.module] == 1
        # In place, the same tensor is the other's output, whose readers come behind both.
        hidden = other.output is handed or (self.readers.of[id(handed)] == other.read_then and id(handed) not in outputs)
        return once and other.read == 0 and hidden


def _one_after_the_other(forwards: Sequence[Callable[..., Any]]) -> Callable[..., Any]:
    if len(forwards) == 1:
        return forwards[0]

    def run(tensor: Any) -> Any:
        for forward in forwards:
            tensor = forward(tensor)
        return tensor

    return run


def _as_it_is(tensor: Any) -> Any:
    return tensor


def _with_own_code(forward: Callable[..., Any], number: int) -> Callable[..., Any]:
    """Return a function that calls `forward` with a code object of its own: torch 2 compiles at most 8 variants of one."""

    def run(*arguments: Any, **keywords: Any) -> Any:
        return forward(*arguments, **keywords)

    run.__code__ = run.__code__.replace(co_name=f"compiled_{number}")
    return run
