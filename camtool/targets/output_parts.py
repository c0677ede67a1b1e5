"""Parts of a network's output by name: the heads of a network of several tasks."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from torch import Tensor

from camtool.errors import TargetError, closest, some

Place: TypeAlias = tuple[str | int, ...]
"""Keys, field names and positions, outermost first; () is the whole output."""

OutputName: TypeAlias = str | int | Sequence[str | int] | None
"""A key, a field or a position, negative from the end; several by dots ("heads.0") or as a tuple; None: the first that can be scores."""

_MOST_NAMES = 12  # in a message


def children(output: Any) -> Iterator[tuple[str | int, Any]]:
    """Yield what a dict, tuple, list or dataclass has in it, by key, field name or position.

    Example:
        >>> from camtool.targets import children
        >>> list(children({"age": 1, "race": 2})), list(children([3]))
        ([('age', 1), ('race', 2)], [(0, 3)])
    """
    if isinstance(output, Mapping):
        yield from output.items()
    elif isinstance(output, (tuple, list)):
        yield from zip(getattr(output, "_fields", range(len(output))), output, strict=True)
    elif dataclasses.is_dataclass(output) and not isinstance(output, type):
        for part in dataclasses.fields(output):
            yield part.name, getattr(output, part.name)


def parts_of(output: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Yield every part of an output, containers too, by place.

    Example:
        >>> from camtool.targets import parts_of
        >>> [place for place, _ in parts_of({"age": 1, "others": (2, 3)})]
        [('age',), ('others',), ('others', 0), ('others', 1)]
    """
    for key, part in children(output):
        yield (*place, key), part
        yield from parts_of(part, (*place, key))


def name_of(place: Place) -> str:
    """Return a place as a name: "others.0".

    Example:
        >>> from camtool.targets import name_of
        >>> name_of(("others", 0))
        'others.0'
    """
    return ".".join(map(str, place))


def find_part(output: Any, name: OutputName) -> tuple[Place, Any]:
    """Return the place and the part of that name; the whole for None.

    Raises:
        TargetError: if there is none; the message has the names of all.

    Example:
        >>> from camtool.targets import find_part
        >>> find_part({"age": 1, "others": (2, 3)}, "others.-1")
        (('others', 1), 3)
    """
    if name is None:
        return (), output
    steps = [str(step) for step in ([name] if isinstance(name, (str, int)) else name)]
    named = {name_of(place): (place, part) for place, part in parts_of(output)}
    found = named.get(".".join(steps))
    if found is not None:
        return found
    place: Place = ()
    part = output
    for step in ".".join(steps).split("."):
        inside = dict(children(part))
        keys = {str(key): key for key in inside}
        keys |= {text: key for number, key in enumerate(inside) for text in (str(number), str(number - len(inside))) if text not in keys}
        if step not in keys:
            raise TargetError(_no_part(name, named))
        place, part = (*place, keys[step]), inside[keys[step]]
    return place, part


def with_part(output: Any, place: Place, new: Any) -> Any:
    """Return a copy of an output with another part at a place.

    Example:
        >>> from camtool.targets import with_part
        >>> with_part({"age": 1, "others": (2, 3)}, ("others", 0), 7)
        {'age': 1, 'others': (7, 3)}
    """
    if not place:
        return new
    changed = {key: with_part(part, place[1:], new) if key == place[0] else part for key, part in children(output)}
    if isinstance(output, (tuple, list)):
        return type(output)(*changed.values()) if hasattr(output, "_fields") else type(output)(changed.values())
    return changed


def _no_part(name: Any, named: Mapping[str, tuple[Place, Any]]) -> str:
    if not named:
        return f"No output {name!r}: the network returns a single one; leave output (--output) out."
    words = [f"{text!r} {tuple(part.shape)}" if isinstance(part, Tensor) else repr(text) for text, (_, part) in named.items()]
    return f"No output {name!r} in what the network returns; expected one of: {some(words, _MOST_NAMES)}{closest(str(name), named)}."
