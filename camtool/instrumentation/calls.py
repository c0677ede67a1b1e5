"""One call of camtool at a time on a network, which acts in its own thread alone and leaves nothing behind, whatever ends it.

- Calls from several threads that share modules wait for each other, in the order in which they came.
- Hooks and replaced forwards do nothing in other threads, where the user's own inference may go on. The train flag of a network in train
  mode cannot be of one thread: inference beside a call sees it in eval mode.
- Each `with` block undoes its own changes; an interruption in the midst of that is mended at the end of the call.
"""

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import nn

from camtool.instrumentation.place import Place
from camtool.instrumentation.traversal import modules_of

_WAIT = 0.2
"""Seconds between two looks at a call that another one waits for; one that was interrupted may not say that it has ended."""

_ATTEMPTS = 10
"""To restore a network while the user presses Ctrl-C again and again."""


class ThreadHook:
    """A hook that does nothing in other threads than the one that made it.

    Example:
        >>> from torch import nn
        >>> from camtool.instrumentation.calls import ThreadHook
        >>> handle = nn.ReLU().register_forward_hook(ThreadHook(lambda module, arguments, output: output + 1))
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._thread = threading.get_ident()

    def __call__(self, *arguments: Any) -> Any:
        """Return what the function returns, None in another thread."""
        return self._function(*arguments) if threading.get_ident() == self._thread else None

    def __deepcopy__(self, memo: Any) -> "ThreadHook":
        """Return itself: a copy of the network (speed) shares its hooks."""
        return self


class ThreadForward:
    """A module's replaced forward, which is the original in other threads than the one that made it, and when it is undone."""

    def __init__(self, module: nn.Module, replacement: Callable[..., Any]) -> None:
        self._module = module
        self._replacement = replacement
        self._original = module.forward
        self._own = vars(module).get("forward")
        self._thread = threading.get_ident()
        self._is_undone = False
        self.__wrapped__ = self._original  # for those who ask for the signature

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """Return what the replacement returns, what the original does in another thread."""
        in_use = threading.get_ident() == self._thread and not self._is_undone
        return (self._replacement if in_use else self._original)(*arguments, **keywords)

    def undo(self) -> None:
        """Give the module back what was its forward before, without those before that are undone as well; may be called again."""
        self._is_undone = True
        forward = vars(self._module).get("forward")
        while isinstance(forward, ThreadForward) and forward._is_undone:
            forward = forward._own
        if forward is None:
            vars(self._module).pop("forward", None)
        else:
            vars(self._module)["forward"] = forward


class Changes:
    """Forwards and kept values that are changed inside a `with` block, and undone at its end.

    What is to be restored is noted before it is changed, and restoring may be repeated, in any order: what an interruption of it leaves
    is restored at the end of the call.
    """

    def __init__(self) -> None:
        self._forwards: list[ThreadForward] = []
        self._puts: dict[Any, _Put] = {}
        self._of: list[Changes] = []

    def __enter__(self) -> "Changes":
        call = _own_call()
        if call is not None:
            self._of = call.changes
            self._of.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        self.undo()

    def replace_forward(self, module: nn.Module, replacement: Callable[..., Any]) -> None:
        """Replace a module's forward in this thread."""
        forward = ThreadForward(module, replacement)
        self._forwards.append(forward)
        vars(module)["forward"] = forward

    def put(self, place: Place, value: Any) -> None:
        """Keep another value at a place; put back is what the network itself kept there last, unless it keeps something new by then."""
        before, earlier = place.read(), self._puts.get(place.name)
        if earlier is not None and earlier.value is before:
            before = earlier.before
        self._puts[place.name] = _Put(place, before, value)
        place.write(value)

    def undo(self) -> None:
        """Restore everything."""
        for forward in self._forwards:
            forward.undo()
        for put in self._puts.values():
            if put.place.read() is put.value:
                put.place.write(put.before)
        self._forwards.clear()
        self._puts.clear()
        if self in self._of:
            self._of.remove(self)


class _Put:
    """What is kept at a place, and what was before."""

    __slots__ = ("before", "place", "value")

    def __init__(self, place: Place, before: Any, value: Any) -> None:
        self.place = place
        self.before = before
        self.value = value


class _Call:
    """A call in progress, or waiting for its turn."""

    def __init__(self, model: nn.Module) -> None:
        self.thread = threading.get_ident()
        self.modules = frozenset(modules_of(model))
        self.ended = threading.Event()
        self.changes: list[Changes] = []
        """Those of blocks that have not ended."""


# The only state of camtool that outlives a call: what is running is a matter of the whole process. No lock guards it, since an
# interruption could leave that locked; appending to a list and reading it are atomic. Weak: a call that is interrupted dies with its frame.
_CALLS: list["weakref.ref[_Call]"] = []


@contextmanager
def only_call(model: nn.Module) -> Iterator[None]:
    """Run the block while no other thread is in such a block with one of the model's modules, and mend what an exception leaves in it.

    A block inside another one of the same thread does not wait.
    """
    call = _Call(model)
    reference = weakref.ref(call)
    to_mend: _State | None = None
    try:
        _CALLS.append(reference)
        _wait_for_turn(call)
        before = to_mend = _State(model, call.changes)
        try:
            yield
            if not call.changes:
                to_mend = None
        except BaseException:
            _to_the_end(before.restore)
            raise
    finally:
        if to_mend is not None:  # once more: an interruption may have come before the first line of restoring
            _to_the_end(to_mend.restore)
        call.ended.set()
        for each in _CALLS[:]:
            if each is reference or each() is None:  # a call that was interrupted before it came here
                with suppress(ValueError):  # removed by another thread
                    _CALLS.remove(each)


def _own_call() -> _Call | None:
    """Return this thread's innermost call in progress."""
    thread = threading.get_ident()
    calls = [call for call in (reference() for reference in _CALLS[:]) if call is not None and call.thread == thread]
    return next((call for call in reversed(calls) if not call.ended.is_set()), None)


def _to_the_end(restore: Callable[[], None]) -> None:
    """Restore, also if that is interrupted, which may be repeated; the interruption is raised afterwards."""
    interruption: KeyboardInterrupt | None = None
    for _ in range(_ATTEMPTS):
        try:
            restore()
            break
        except KeyboardInterrupt as again:
            interruption = again
    if interruption is not None:
        raise interruption


def _wait_for_turn(call: _Call) -> None:
    earlier: list[_Call] = []
    for reference in _CALLS[:]:
        other = reference()
        if other is call:
            break
        if other is not None and other.modules & call.modules and not other.ended.is_set():
            earlier.append(other)
    if any(other.thread == call.thread for other in earlier):
        return
    waited = [weakref.ref(other) for other in earlier]
    earlier.clear()
    other = None
    for reference in waited:
        while _is_running(reference):
            pass


def _is_running(reference: "weakref.ref[_Call]") -> bool:
    call = reference()
    return call is not None and not call.ended.wait(_WAIT)


class _State:
    """What a call may change for its own time: hooks, forwards and flags of the modules, and the thread's modes."""

    def __init__(self, model: nn.Module, changes: list[Changes]) -> None:
        self._changes = changes
        modules = modules_of(model)
        self._modules = [(module, module.training) for module in modules]
        hooked = [module for module in modules if module._forward_hooks or module._forward_pre_hooks]
        self._ours = {id(hook) for module in hooked for _, hook in _own_hooks(module)}
        self._ours |= {id(vars(module).get("forward")) for module in modules}
        self._grad = torch.is_grad_enabled()
        self._modes = torch._C._len_torch_function_stack()
        self._autocast = [(kind, torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in ("cpu", "cuda")]
        self._cache = torch.is_autocast_cache_enabled()

    def restore(self) -> None:
        """Take away what is camtool's own and was not there before, and set flags and modes as they were; may be called again."""
        while self._changes:
            self._changes[-1].undo()
        for module, training in self._modules:
            module.training = training
            for name, hook in _own_hooks(module):
                if id(hook) in self._ours:
                    continue
                for hooks in _all_hooks(module):
                    hooks.pop(name, None)
            while isinstance(forward := vars(module).get("forward"), ThreadForward) and id(forward) not in self._ours:
                forward.undo()
        while torch._C._len_torch_function_stack() > self._modes:
            torch._C._pop_torch_function_stack()
        for kind, enabled, dtype in self._autocast:
            torch.set_autocast_enabled(kind, enabled)
            torch.set_autocast_dtype(kind, dtype)
        torch.set_autocast_cache_enabled(self._cache)
        torch.set_grad_enabled(self._grad)


_HOOKS = tuple(name for name in vars(nn.Module()) if name.startswith("_forward") and "hooks" in name)


def _all_hooks(module: nn.Module) -> Iterator[dict[Any, Any]]:
    """Return the module's dicts of forward hooks and of their options, by the same keys, without empty ones."""
    return (hooks for name in _HOOKS if (hooks := getattr(module, name)))


def _own_hooks(module: nn.Module) -> list[tuple[Any, ThreadHook]]:
    """Return camtool's own hooks of a module, with their keys."""
    return [(key, hook) for hooks in _all_hooks(module) for key, hook in hooks.items() if isinstance(hook, ThreadHook)]
