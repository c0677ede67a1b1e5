"""Overrides of a config from the command line: `--cfg-options a.b=c`."""

from collections.abc import Sequence
from typing import Any

from camtool.errors import ConfigError


def parse_options(options: Sequence[str]) -> dict[str, Any]:
    """Return `a.b=c` as {"a.b": c}, values read as mmengine reads them."""
    from mmengine.config import DictAction

    parsed = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals or not key:
            raise ConfigError(f"--cfg-options takes KEY=VALUE, got '{option}'.")
        try:
            parsed[key] = DictAction._parse_iterable(value)
        except Exception as error:
            raise ConfigError(f"--cfg-options {option}: the value cannot be read: {error}.") from error
    return parsed
