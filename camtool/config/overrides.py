"""Config overrides of the command line: `--cfg-options a.b=c`."""

from collections.abc import Sequence
from typing import Any

from camtool.errors import ConfigError


def parse_options(options: Sequence[str]) -> dict[str, Any]:
    """Return `a.b=c` as {"a.b": c}; values are parsed as mmengine's DictAction does.

    Raises:
        ConfigError: if an option is not KEY=VALUE, or its value cannot be parsed.

    Example:
        >>> parse_options(["model.head.num_classes=10", "model.backbone.depths=(2,2)"])
        {'model.head.num_classes': 10, 'model.backbone.depths': (2, 2)}
    """
    from mmengine.config import DictAction

    parsed = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals or not key:
            raise ConfigError(f"Expected --cfg-options KEY=VALUE, got '{option}'.")
        try:
            parsed[key] = DictAction._parse_iterable(value)
        except Exception as error:
            raise ConfigError(f"--cfg-options {option}: the value cannot be parsed: {error}.") from error
    return parsed
