"""A method's settings where they are not the defaults, and its name with them."""

import inspect
from functools import lru_cache
from typing import Any

from camtool.errors import CamtoolError
from camtool.methods._base import BaseMethod
from camtool.methods.wrapper._base import Wrapper


def settings_of(method: BaseMethod) -> dict[str, Any]:
    """Return the settings that are not the method's defaults, under "method" those of a wrapped one; by names of arguments.

    Settings are known as attributes of the argument's name; those of a class that has required arguments count all.

    Example:
        >>> from camtool.methods import build_method, settings_of
        >>> settings_of(build_method("smooth(samples=50):fem(k=3.0)")), settings_of(build_method("gradcam"))
        ({'method': {'k': 3.0}, 'samples': 50}, {})
    """
    try:
        default: BaseMethod | None = type(method)()
    except (TypeError, ValueError, CamtoolError):
        default = None
    found: dict[str, Any] = {}
    kind: Any = type(method)
    for key in _arguments(kind):
        value = vars(method).get(key, default)
        if key == "method" and isinstance(value, BaseMethod):
            inner = settings_of(value)
            found |= {key: inner} if inner else {}
        elif key in vars(method) and (default is None or vars(default).get(key) != value):
            found[key] = value
    return found


@lru_cache(maxsize=256)
def _arguments(kind: Any) -> tuple[str, ...]:
    return tuple(inspect.signature(kind).parameters)


def label_of(method: BaseMethod) -> str:
    """Return the method's name with its settings that are not the defaults, as a command line has it.

    Example:
        >>> from camtool.methods import build_method, label_of
        >>> label_of(build_method({"type": "occlusion", "patch": (32, 16), "baseline": "gaussian"}))
        'occlusion(patch=32x16,baseline=gaussian)'
        >>> label_of(build_method("smooth(samples=50):fem(k=3.0)")), label_of(build_method("smooth"))
        ('smooth(samples=50):fem(k=3.0)', 'smooth:gradcam')
    """
    settings = {key: value for key, value in settings_of(method).items() if key != "method"}
    own = type(method).name if isinstance(method, Wrapper) else method.name
    text = f"{own}({','.join(f'{key}={_as_text(value)}' for key, value in settings.items())})" if settings else own
    return f"{text}:{label_of(method.method)}" if isinstance(method, Wrapper) else text


def _as_text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return "x".join(map(str, value)) or "none"
    return str(value)
