"""Interception: change what a module's forward returns before any hook, or anything else, sees it.

A forward hook of one's own runs behind those that are there already, so what the network's hooks keep (feature pyramids, U-Nets, recorders
of hidden states) would be the tensor from before the change. What is kept by the time the forward returns is changed along.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

from torch import nn

from camtool.instrumentation.calls import Changes, ThreadHook
from camtool.instrumentation.kept import find_kept
from camtool.instrumentation.module_state import is_scripted
from camtool.instrumentation.nested import tensors_in

Change: TypeAlias = Callable[[nn.Module, Any, Any], Any]
"""`change(module, arguments, output)` returns the output that is to be returned instead, of the same structure, or None."""


@contextmanager
def changed_output(module: nn.Module, change: Change, changes: Changes | None = None) -> Iterator[None]:
    """Let `change` decide what the module's forward returns inside the block; nothing is left behind, also after an exception.

    Args:
        changes: those of a block around this one, with which this one ends: of several modules one may return another one's output.
    """
    # torch's fused transformer layers skip their parts unless one of them has a hook; scripted modules take none.
    hook = None if is_scripted(module) else ThreadHook(_nothing)
    with Changes() as own:
        together, forward = changes or own, module.forward

        def intercepted(*arguments: Any, **keywords: Any) -> Any:
            held = [forward(*arguments, **keywords)]
            kept = find_kept(module, held, (arguments, keywords))
            new = change(module, (arguments, keywords), held[0])
            if new is None:
                return held[0]
            tensors = list(tensors_in(new))
            for place in kept:
                place.put(tensors, together)
            return new

        handle = None if hook is None else module.register_forward_hook(hook)
        try:
            together.replace_forward(module, intercepted)
            yield
        finally:
            if handle is not None:
                handle.remove()


def _nothing(*_: Any) -> None: ...
