"""Config overrides of the command line: `--cfg-options a.b=c`."""

import re
from collections.abc import Sequence
from typing import Any

from camtool.errors import ConfigError

_KEPT = " ,()[]"
"""Characters that DictAction drops or splits at; inside quotes, and for a blank between two words, they are part of the text."""

_PLACES = str.maketrans(_KEPT, "\ue000\ue001\ue002\ue003\ue004\ue005")  # of a private area, which no text has
_BACK = str.maketrans("\ue000\ue001\ue002\ue003\ue004\ue005", _KEPT)
_QUOTED = re.compile(r"""(?<![^\s,(\[])(["'])(.*?)\1(?![^\s,)\]])""")
_BETWEEN_WORDS = re.compile(r"""(?<=[^\s,()\[\]"']) +(?=[^\s,()\[\]"'])""")


def parse_options(options: Sequence[str], *, flag: str = "--cfg-options") -> dict[str, Any]:
    """Return `a.b=c` as {"a.b": c}; values are parsed as mmengine's DictAction does, but keep the blanks in words and in quotes.

    Args:
        flag: that the options were given by.

    Raises:
        ConfigError: if an option is not KEY=VALUE, or its value cannot be parsed.

    Example:
        >>> parse_options(["model.head.num_classes=10", "model.backbone.depths=(2,2)"])
        {'model.head.num_classes': 10, 'model.backbone.depths': (2, 2)}
        >>> parse_options(["model.classes=['red fox', cat]"])
        {'model.classes': ['red fox', 'cat']}
    """
    from mmengine.config import DictAction

    parsed = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals or not key:
            raise ConfigError(f"Expected {flag} KEY=VALUE, got '{option}'.")
        if value.lstrip(" [(").startswith(("{", "dict(")):  # DictAction has no end with some, and reads others as text
            raise ConfigError(f"{flag} {option}: expected a number, a word or a list; the keys of a dict one by one: {key}.KEY=VALUE.")
        try:
            parsed[key] = _restored(DictAction._parse_iterable(_protected(value)))
        except Exception as error:
            raise ConfigError(f"{flag} {option}: the value cannot be parsed: {error}.") from error
    return parsed


def _protected(value: str) -> str:
    """Return a value with its meant blanks, and the commas and brackets in quotes, as characters that DictAction leaves alone."""
    quoted = _QUOTED.sub(lambda match: f"{match[1]}{match[2].translate(_PLACES)}{match[1]}", value)
    return _BETWEEN_WORDS.sub(lambda match: match[0].translate(_PLACES), quoted)


def _restored(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(map(_restored, value))
    return value.translate(_BACK) if isinstance(value, str) else value
