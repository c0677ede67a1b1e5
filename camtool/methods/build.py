"""Methods by name, in any spelling, and from config dicts; the family of each."""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from camtool.errors import MethodError
from camtool.methods._base import LAYERS, BaseMethod
from camtool.methods.input._base import InputMethod
from camtool.methods.labels import label_of
from camtool.methods.wrapper._base import Wrapper
from camtool.registry import METHODS, build, find, names, read_spec

EXAMPLE = "occlusion(patch=32,stride=16)"


def method_names() -> list[str]:
    """Return the command-line name of every registered method, a user's own included, sorted.

    Example:
        >>> from camtool.methods import method_names
        >>> method_names()[:3]
        ['ablationcam', 'agcam', 'cam']
    """
    return names(METHODS)


def find_method(name: str) -> type[BaseMethod]:
    """Return the class of a method name in any spelling: `gradcam++`, `GradCAMPlusPlus`; of `smooth:layercam` the wrapper's.

    Settings in the name ("occlusion(patch=32)") are not looked at.

    Raises:
        MethodError: if there is none, or the outer of two is not a wrapper; the message has the nearest names and all of them.

    Example:
        >>> from camtool.methods import find_method
        >>> find_method("Grad-CAM++").__name__, find_method("smooth:layercam").__name__
        ('GradCAMPlusPlus', 'Smooth')
    """
    outer, colon, inner = _split(name)
    method_class: type[BaseMethod] = find(METHODS, outer["type"], error=MethodError)
    if colon and not issubclass(method_class, Wrapper):
        wrappers = sorted(registered.name for registered in METHODS.module_dict.values() if issubclass(registered, Wrapper))
        raise MethodError(f"'{name}': '{method_class.name}' cannot wrap another method; these can: {', '.join(wrappers)}.")
    if colon and not inner:
        raise MethodError(f"'{name}': expected a method behind the colon, as in '{method_class.name}:gradcam'.")
    if colon:
        find_method(inner)
    return method_class


def spec_of(name: str) -> dict[str, Any]:
    """Return the config dict of a method's name, with settings in brackets or without.

    Example:
        >>> from camtool.methods import spec_of
        >>> spec_of("smooth(samples=50):layercam")
        {'type': 'smooth', 'samples': 50, 'method': {'type': 'layercam'}}
        >>> spec_of("occlusion(patch=32x16,baseline=gaussian)")
        {'type': 'occlusion', 'patch': (32, 16), 'baseline': 'gaussian'}
    """
    outer, colon, inner = _split(name)
    find_method(name)
    if colon and "method" in outer:
        raise MethodError(f"'{name}': the method to wrap is named twice.")
    return {**outer, "method": spec_of(inner)} if colon else outer


def build_method(spec: str | Mapping[str, Any] | BaseMethod) -> BaseMethod:
    """Return the method that a name or a config dict describes.

    `dict(type='FEM', k=2.0)` or "fem(k=2.0)"; a wrapped method as `smooth(samples=50):layercam` or
    `dict(type='Smooth', method='layercam', samples=50)`.

    Raises:
        MethodError: if the type is unknown, a keyword is not one of its hyper-parameters or has a value of another type than it
            expects, or it cannot wrap the inner method.

    Example:
        >>> from camtool.methods import build_method
        >>> build_method("grad-cam").name
        'gradcam'
        >>> smooth = build_method({"type": "Smooth", "method": "layercam", "samples": 50})
        >>> smooth.name, smooth.samples
        ('smooth:layercam', 50)
    """
    if not isinstance(spec, (str, Mapping)):
        return build(METHODS, spec, base=BaseMethod, error=MethodError)
    settings: dict[str, Any] = {"type": spec} if isinstance(spec, str) else dict(spec)
    if "type" in settings:
        named = spec_of(str(settings.pop("type")))
        twice = named.keys() & settings.keys()
        if twice:
            what = "the method to wrap is named" if "method" in twice else f"'{min(twice)}' is given"
            raise MethodError(f"{spec!r}: {what} twice.")
        settings |= named
        if issubclass(outer := find_method(settings["type"]), Wrapper) and settings.get("method") is not None:
            if not isinstance(settings["method"], (str, Mapping, BaseMethod)):
                raise MethodError(f"Method '{outer.name}': expected as 'method' a method's name or dict, got {settings['method']!r}.")
            settings["method"] = build_method(settings["method"])
    return build(METHODS, settings, error=MethodError)


def _split(name: str) -> tuple[dict[str, Any], str, str]:
    """Return the config dict of the part before the first colon outside of brackets, the colon if there is one, and what is behind."""
    outer, colon, inner = name.partition(":")
    while outer.count("(") > outer.count(")") and colon:
        more, colon, inner = inner.partition(":")
        outer = f"{outer}:{more}"
    return read_spec(outer, "method", EXAMPLE, error=MethodError) if "(" in outer or ")" in outer else {"type": outer}, colon, inner


def as_specs(specs: Any) -> list[Any]:
    """Return one name, config dict or method as a list of one; several as a list."""
    return list(specs) if isinstance(specs, Iterable) and not isinstance(specs, (str, Mapping)) else [specs]


def build_methods(specs: str | Mapping[str, Any] | BaseMethod | Iterable[str | Mapping[str, Any] | BaseMethod]) -> dict[str, BaseMethod]:
    """Return methods by name, in the given order; a repeated one counts once, and one of several settings has these in its name.

    Raises:
        MethodError: if there is no method, one is unknown, or two of different settings cannot be told apart by their names.

    Example:
        >>> from camtool.methods import build_methods
        >>> list(build_methods(["gradcam", "smooth", "gradcam"]))
        ['gradcam', 'smooth:gradcam']
        >>> list(build_methods(["fem", "fem(k=3.0)", "gradcam"]))
        ['fem', 'fem(k=3.0)', 'gradcam']
    """
    methods = [build_method(spec) for spec in as_specs(specs)]
    if not methods:
        raise MethodError(f"No method given; expected one of: {', '.join(method_names())}.")
    several = {
        one.name for one, other in itertools.combinations(methods, 2) if one.name == other.name and _settings(one) != _settings(other)
    }
    by_name: dict[str, BaseMethod] = {}
    for method in methods:
        name = label_of(method) if method.name in several else method.name
        if _settings(by_name.setdefault(name, method)) != _settings(method):
            raise MethodError(f"Method '{name}' is given twice with different settings; make one call for each.")
    return by_name


def reads_layers(method: BaseMethod) -> bool:
    """Return whether the method has target layers, itself or through its base method.

    Example:
        >>> from camtool.methods import build_method, reads_layers
        >>> [reads_layers(build_method(name)) for name in ("gradcam", "guidedgradcam", "rollout")]
        [True, True, False]
    """
    return method.reads == LAYERS or (isinstance(method, InputMethod) and bool(method.base))


def family(method_class: type[BaseMethod]) -> str:
    """Return the folder of a method's file: "gradient", "perturbation", …; "own" for a method from outside of camtool.

    Example:
        >>> from camtool.methods import family, find_method
        >>> family(find_method("gradcam")), family(find_method("scorecam"))
        ('gradient', 'perturbation')
    """
    package, _, rest = method_class.__module__.partition("camtool.methods.")
    folder, _, file = rest.partition(".")
    return folder if not package and file else "own"


def _settings(method: BaseMethod) -> dict[str, Any]:
    """Return the hyper-parameters, those of a wrapped method included."""
    return {key: _settings(value) if isinstance(value, BaseMethod) else value for key, value in vars(method).items()}
