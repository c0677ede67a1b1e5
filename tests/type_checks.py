"""Types and shapes in camtool's signatures are checked at every call: what `jaxtyping.jaxtyped` checks, in a small part of its time.

jaxtyping binds the arguments of every call to the signature, checks arguments twice where there is a return value, and makes two new
functions whenever a function inside a function is defined. Here only signatures with shapes have a scope for the sizes of axes, each value
is checked once, and what checks a function inside a function is made once.
"""

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable, Hashable
from typing import Any

import jaxtyping
from beartype import BeartypeConf, beartype

_TYPED = beartype(conf=BeartypeConf(violation_type=jaxtyping.TypeCheckError))
_CHECKS: dict[Hashable, "_Checks"] = {}
_IN_SCOPE = jaxtyping.jaxtyped  # before `install` replaces it

Function = Callable[..., Any]
_Checks = tuple[Function, Function | None]


def install(package: str) -> None:
    """Check every function and dataclass of a package that is imported from here on."""
    jaxtyping.install_import_hook(package, "beartype.beartype")
    jaxtyping.jaxtyped = lambda **_: checked  # type: ignore[assignment] # what the hook puts at every function and class


def checked(kind: Any) -> Any:
    """Return a function that checks the types and shapes of its arguments and of what it returns; a dataclass, that of its fields.

    Raises:
        jaxtyping.TypeCheckError: by the function, if one is not as annotated.
    """
    if inspect.isclass(kind):
        if dataclasses.is_dataclass(kind) and not hasattr(kind.__init__, "__wrapped__"):
            kind.__init__ = checked(kind.__init__)  # type: ignore[misc]
        return kind
    if not kind.__annotations__:
        return kind
    hints = {name: _resolved(hint, kind.__globals__) for name, hint in kind.__annotations__.items()}
    once = "<locals>" not in kind.__qualname__ and hints == kind.__annotations__ and not inspect.isgeneratorfunction(kind)
    function = _TYPED(kind) if once else _checked_around(kind, hints)
    return _scoped(function) if any(_has_shape(hint) for hint in hints.values()) else function


def _resolved(hint: Any, names: dict[str, Any]) -> Any:
    """Return what a hint in quotes stands for; Any, if that does not exist yet."""
    if inspect.isclass(hint) or not ("'" in repr(hint) or "ForwardRef" in repr(hint)):
        return hint
    holder = type("Holder", (), {"__annotations__": {"hint": hint}})
    try:
        return typing.get_type_hints(holder, names, include_extras=True)["hint"]
    except Exception:  # noqa: BLE001 - as jaxtyping: whatever a hint in quotes may raise
        return Any


def _has_shape(hint: Any) -> bool:
    if isinstance(hint, (list, tuple)):  # the arguments of a Callable
        return any(map(_has_shape, hint))
    return (inspect.isclass(hint) and issubclass(hint, jaxtyping.AbstractArray)) or any(map(_has_shape, typing.get_args(hint)))


def _scoped(function: Function) -> Function:
    """Give each call axes of its own."""

    @functools.wraps(function)
    def scoped(*args: Any, **kwargs: Any) -> Any:
        with _IN_SCOPE("context"):
            return function(*args, **kwargs)

    return scoped


def _checked_around(function: Function, hints: dict[str, Any]) -> Function:
    """Check before and after a call: by functions that serve every function of the same code."""
    key = (function.__code__, *hints.items())
    if key not in _CHECKS:
        _CHECKS[key] = _checks(function, hints)
    arguments, returned = _CHECKS[key]

    @functools.wraps(function)
    def around(*args: Any, **kwargs: Any) -> Any:
        arguments(*args, **kwargs)
        result = function(*args, **kwargs)
        if returned is not None:
            returned(result)
        return result

    return around


def _checks(function: Function, hints: dict[str, Any]) -> _Checks:
    """Return what checks a function's arguments, and what checks its result."""
    empty = inspect.Parameter.empty
    parameters = [
        parameter.replace(annotation=empty, default=empty if parameter.default is empty else None)
        for parameter in inspect.signature(function).parameters.values()
    ]
    names: dict[str, Any] = {}
    exec(f"def arguments{inspect.Signature(parameters)}: pass\ndef returned(result): pass", names)
    arguments, returned = names["arguments"], names["returned"]
    arguments.__defaults__, arguments.__kwdefaults__ = function.__defaults__, function.__kwdefaults__
    arguments.__annotations__ = {name: hint for name, hint in hints.items() if name != "return"}
    for one in (arguments, returned):
        one.__module__, one.__qualname__ = function.__module__, function.__qualname__
    if "return" not in hints:
        return _TYPED(arguments), None
    returned.__annotations__ = {"result": hints["return"]}
    return _TYPED(arguments), _TYPED(returned)
