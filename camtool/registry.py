"""Registries of the classes that configs name by `type`, a user's own (`custom_imports`) included."""

import inspect
import math
import numbers
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from mmengine import registry as _root
from mmengine.registry import Registry

from camtool.errors import CamtoolError, ConfigError, closest

METHODS = Registry("method", scope="camtool", locations=["camtool.methods"])
FUSIONS = Registry("fusion", scope="camtool", locations=["camtool.fusion"])
LAYOUTS = Registry("layout", scope="camtool", locations=["camtool.layouts"])
TARGETS = Registry("target", scope="camtool", locations=["camtool.targets"])
MODEL_NAMES = Registry("list of model names", scope="camtool", locations=["camtool.models.names"])

# Children of mmengine's registries: `type="camtool.…"` in a training config is found without `custom_imports`, in any scope.
DATASETS = Registry("dataset", parent=_root.DATASETS, scope="camtool", locations=["camtool.datasets.builtin", "camtool.train.skip_broken"])
TRANSFORMS = Registry("transform", parent=_root.TRANSFORMS, scope="camtool", locations=["camtool.datasets.builtin"])
MODELS = Registry("model", parent=_root.MODELS, scope="camtool", locations=["camtool.models.backbones", "camtool.models.classifiers"])
FUNCTIONS = Registry("function", parent=_root.FUNCTIONS, scope="camtool", locations=["camtool.train.collate"])
HOOKS = Registry("hook", parent=_root.HOOKS, scope="camtool", locations=["camtool.train.hooks"])
LOOPS = Registry("loop", parent=_root.LOOPS, scope="camtool", locations=["camtool.train.loops"])
METRICS = Registry("metric", parent=_root.METRICS, scope="camtool", locations=["camtool.train.metrics"])
OPTIM_WRAPPERS = Registry("optim_wrapper", parent=_root.OPTIM_WRAPPERS, scope="camtool", locations=["camtool.train.optim_wrapper"])

_CALL = re.compile(r"\s*([^():]*?)\s*(?:\(([^()]*)\))?\s*")
_PART = re.compile(r"""((?:"[^"]*"|'[^']*'|[^,"'])+),?""")
_WORDS = {"true": True, "false": False, "none": None}
_IN_WORDS = {int: "a whole number", float: "a number", str: "a word", bool: "true or false", NoneType: "none"}

_UNKNOWN_TYPE = re.compile(r"([\w.]+) is not in the [\w-]+::([\w ]+) registry")


def unknown_type(error: Exception) -> tuple[str, str] | None:
    """Return ("Resnet", "model") if mmengine raised `error` because there is no such type, else None."""
    match = _UNKNOWN_TYPE.search(str(error))
    return (match[1], match[2].replace("_", " ")) if match else None


def known_types(registry: Registry) -> set[str]:
    """Return the types that a config of the registry's scope can name without a prefix, mmengine's own included."""
    return {*registry.module_dict, *(registry.parent.module_dict if registry.parent else ())}


def names(registry: Registry) -> list[str]:
    """Return the command-line names of all registered classes, a user's own included, sorted."""
    return sorted({_name(registered) for registered in registry.module_dict.values()})


def find(registry: Registry, name: str, *, error: type[CamtoolError] = ConfigError) -> Any:
    """Return the class with this name, whatever its case and punctuation: `gradcam++`, `GradCAMPlusPlus`, `grad-cam`.

    Raises:
        CamtoolError: of the kind `error` if there is none; the message has the nearest names and all of them.
    """
    for key, registered in registry.module_dict.items():
        if _folded(name) in (_folded(key), _folded(_name(registered))):
            return registered
    choices = names(registry)
    raise error(f"Unknown {registry.name} '{name}'{closest(name, choices)}; expected one of: {', '.join(choices)}.")


def build(
    registry: Registry, spec: Any, *, base: Any = object, error: type[CamtoolError] = ConfigError, later: tuple[Any, ...] = ()
) -> Any:
    """Return the object that a name or a config dict (`dict(type='Tokens', num_extra_tokens=1)`) describes; other objects unchanged.

    Args:
        base: class of the objects that are taken unchanged.
        later: placeholders of leading positional arguments that are known later; then a function of these is returned.

    Raises:
        CamtoolError: of the kind `error` if the type is unknown, or a setting is missing, misspelt or of an impossible value.
    """
    if not isinstance(spec, (str, Mapping)):
        if not isinstance(spec, base):
            raise error(f"Expected a {registry.name} as a name, a dict with 'type' or a {base.__name__}, got {spec!r}.")
        return spec
    settings: dict[str, Any] = {"type": spec} if isinstance(spec, str) else dict(spec)
    if "type" not in settings:
        raise error(f"Expected a {registry.name} as a name or a dict with 'type', got {spec!r}.")
    registered = find(registry, str(settings.pop("type")), error=error)
    return construct(registered, settings, f"{registry.name.capitalize()} '{_name(registered)}'", error=error, later=later)


def read_spec(text: str, what: str, example: str, *, error: type[CamtoolError] = ConfigError) -> dict[str, Any]:
    """Return the config dict of a name with settings, as a command line has it; nothing of it is evaluated.

    Values are whole numbers, several of them ("14x14"), other numbers, true, false, none, and else words, with or without quotes.

    Raises:
        CamtoolError: of the kind `error` if it cannot be read; the message has the `example`.

    Example:
        >>> from camtool.registry import read_spec
        >>> read_spec("occlusion(patch=32x16, baseline=0.5)", "method", "occlusion(patch=32)")
        {'type': 'occlusion', 'patch': (32, 16), 'baseline': 0.5}
    """
    call = _CALL.fullmatch(text)
    settings: dict[str, Any] = {}
    readable = call is not None and bool(call[1])
    for part in _PART.findall(call[2]) if call is not None and (call[2] or "").strip() else []:
        key, equals, value = (piece.strip() for piece in part.partition("="))
        readable &= bool(key and equals and value) and key not in settings
        settings[key] = _value(value)
    if call is None or not readable:
        raise error(f"Cannot read the {what} '{text}'; expected a name with settings, such as '{example}'.")
    return {"type": call[1], **settings}


def _value(text: str) -> Any:
    numbers = text.split("x")
    if all(number.strip().removeprefix("-").isdecimal() for number in numbers):
        values = tuple(int(number) for number in numbers)
        return values if len(values) > 1 else values[0]
    if text.casefold() in _WORDS:
        return _WORDS[text.casefold()]
    if any(character.isdecimal() for character in text):  # "inf" and "nan" are words
        with suppress(ValueError):
            return float(text)
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text


def construct(kind: Any, settings: Mapping[str, Any], what: str, *, error: type[CamtoolError], later: tuple[Any, ...] = ()) -> Any:
    """Return `kind(**settings)`; with placeholders `later`, a function that takes these positional arguments first.

    Raises:
        CamtoolError: of the kind `error`, its message starting with `what`, if a setting is missing, misspelt or has an impossible value.
    """
    signature = inspect.signature(kind)
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.parameters.values())
    named = [name for name, parameter in signature.parameters.items() if parameter.kind is not parameter.VAR_KEYWORD]
    parameters = named[len(later) :]
    for key in settings:
        if key not in parameters and not takes_any:
            expected = f"expected one of: {', '.join(parameters)}" if parameters else "it has no settings"
            raise error(f"{what} has no setting '{key}'{closest(key, parameters)}; {expected}.")
    for key, options in _expected(kind).items():
        if key in settings and not any(_fits(settings[key], option) for option in options):
            *others, last = map(_in_words, options)
            words = f"{', '.join(others)} or {last}" if others else last
            raise error(f"{what}: expected as '{key}' {words}, got {settings[key]!r}.")
    try:
        signature.bind(*later, **settings)
    except TypeError as reason:
        bound = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
        needed = [
            name
            for name, parameter in signature.parameters.items()
            if name in parameters and parameter.kind in bound and parameter.default is inspect.Parameter.empty
        ]
        raise error(f"{what}: {reason}; expected a dict, as in a config, of type, {', '.join(needed)}.") from reason
    try:
        return partial(kind, **settings) if later else kind(**settings)
    except (TypeError, ValueError) as reason:
        raise error(f"{what}: {reason}.") from reason


def _expected(kind: Any) -> dict[str, list[Any]]:
    """Return by setting the types that its annotation allows; without settings that may be of others than plain values."""
    try:
        hints = get_type_hints(kind.__init__ if inspect.isclass(kind) else kind)
    except (NameError, TypeError, AttributeError, SyntaxError):  # annotations are names that a user's module need not have
        return {}
    plain = {}
    for key, hint in hints.items():
        options = list(get_args(hint)) if get_origin(hint) in (Union, UnionType) else [hint]
        if all(option in _IN_WORDS or (_is_several(option) and get_args(option)[0] in _IN_WORDS) for option in options):
            plain[key] = options
    return plain


def _is_several(option: Any) -> bool:
    return get_origin(option) in (Sequence, list) and len(get_args(option)) == 1


def _fits(value: Any, option: Any) -> bool:
    if _is_several(option):
        values = isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping))
        return values and all(_fits(one, *get_args(option)) for one in value)
    if option in (int, float):
        kind = numbers.Integral if option is int else numbers.Real
        return isinstance(value, kind) and not isinstance(value, bool) and not math.isnan(value)
    return isinstance(value, option)


def _in_words(option: Any) -> str:
    return f"several {_IN_WORDS[get_args(option)[0]].removeprefix('a ')}s" if _is_several(option) else _IN_WORDS[option]


def _name(registered: Any) -> str:
    return str(getattr(registered, "name", registered.__name__))


def _folded(name: str) -> str:
    plain = name.casefold().replace("+", "plus")
    return "".join(character for character in plain if character.isalnum())
