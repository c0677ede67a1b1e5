"""Methods by name and from config dicts, in any spelling; the family that each belongs to."""

from collections.abc import Iterable
from typing import Any

from camtool.errors import MethodError, closest
from camtool.methods._base import BaseMethod, Method
from camtool.methods.input._base import InputMethod
from camtool.methods.wrapper._base import Wrapper
from camtool.registry import METHODS


def method_names() -> list[str]:
    """Return the command-line name of every registered method, a user's own included, sorted."""
    return sorted({method_class.name for method_class in METHODS.module_dict.values()})


def find_method(name: str) -> type[BaseMethod]:
    """Return the class that `name` means: any case, `gradcam++`, `GradCAMPlusPlus`, `grad-cam` alike; of `smooth:layercam` the outer.

    Raises:
        MethodError: if there is none, or the outer of two wraps no other; the message has the nearest names and all of them.
    """
    outer, colon, inner = name.partition(":")
    wanted = _folded(outer)
    for key, method_class in METHODS.module_dict.items():
        if wanted in (_folded(key), _folded(method_class.name)):
            if colon:
                _check_wrapping(method_class, name, inner)
            return method_class
    names = method_names()
    raise MethodError(f"Unknown method '{outer}'{closest(outer, names)}; expected one of: {', '.join(names)}.")


def _check_wrapping(outer: type[BaseMethod], name: str, inner: str) -> None:
    if not issubclass(outer, Wrapper):
        wrappers = sorted(one.name for one in METHODS.module_dict.values() if issubclass(one, Wrapper))
        raise MethodError(f"'{name}': '{outer.name}' goes around no other method; these do: {', '.join(wrappers)}.")
    if not inner:
        raise MethodError(f"'{name}': expected a method behind the colon, as in '{outer.name}:gradcam'.")
    find_method(inner)


def spec_of(name: str) -> dict[str, Any]:
    """Return the config dict that a name means: `smooth:layercam` is `dict(type='smooth', method=dict(type='layercam'))`."""
    outer, colon, inner = name.partition(":")
    find_method(name)
    return {"type": outer, "method": spec_of(inner)} if colon else {"type": outer}


def build_method(spec: str | dict[str, Any] | BaseMethod) -> BaseMethod:
    """Return the method that a name or a config dict describes.

    `dict(type='FEM', k=2.0)`; around another `smooth:layercam`, `dict(type='Smooth', method='layercam', samples=50)`.

    Raises:
        MethodError: if the type is unknown, a keyword is not one of its hyper-parameters, or it cannot go around that method.
    """
    if isinstance(spec, BaseMethod):
        return spec
    arguments: dict[str, Any] = {"type": spec} if isinstance(spec, str) else dict(spec)
    if "type" not in arguments:
        raise MethodError(f"A method is a name or a dict with 'type', got {spec!r}.")
    named = spec_of(str(arguments.pop("type")))
    method_class = find_method(named.pop("type"))
    if "method" in named and "method" in arguments:
        raise MethodError(f"{spec!r}: the method to go around is named twice.")
    arguments |= named
    if issubclass(method_class, Wrapper) and arguments.get("method") is not None:
        arguments["method"] = build_method(arguments["method"])
    try:
        return method_class(**arguments)
    except (TypeError, ValueError) as error:
        raise MethodError(f"Method '{method_class.name}': {error}.") from error


def build_methods(specs: str | dict[str, Any] | BaseMethod | Iterable[str | dict[str, Any] | BaseMethod]) -> dict[str, BaseMethod]:
    """Return methods by name, in the order asked; one named twice is taken once."""
    several = [specs] if isinstance(specs, (str, dict, BaseMethod)) else specs
    methods = [build_method(spec) for spec in several]
    if not methods:
        raise MethodError(f"No method given; expected one of: {', '.join(method_names())}.")
    by_name: dict[str, BaseMethod] = {}
    for method in methods:
        first = by_name.setdefault(method.name, method)
        if _settings(first) != _settings(method):
            raise MethodError(f"Method '{method.name}' is asked for with different settings; make one call for each.")
    return by_name


def reads_layers(method: BaseMethod) -> bool:
    """Return whether the method has target layers, by itself or through the method it is based on."""
    return isinstance(method, Method) or (isinstance(method, InputMethod) and bool(method.base))


def family(method_class: type[BaseMethod]) -> str:
    """Return the folder that a method's file is in: "gradient", "perturbation", …; "own" for one from outside of camtool."""
    package, _, rest = method_class.__module__.partition("camtool.methods.")
    folder, _, file = rest.partition(".")
    return folder if not package and file else "own"


def _settings(method: BaseMethod) -> dict[str, Any]:
    """Return the hyper-parameters, those of a method inside included."""
    return {key: _settings(value) if isinstance(value, BaseMethod) else value for key, value in vars(method).items()}


def _folded(name: str) -> str:
    plain = name.casefold().replace("+", "plus")
    return "".join(character for character in plain if character.isalnum())
