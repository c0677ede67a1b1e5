"""The metric that a hook decides by."""

from collections.abc import Mapping
from typing import Any

from camtool.errors import ConfigError, closest


def check_monitored(name: str, metrics: Mapping[str, Any], what: str) -> None:
    """Raise ConfigError unless the validation gives the metric `name`; `what` says who wants it."""
    if name not in metrics:
        raise ConfigError(
            f"{what} '{name}', which the validation does not give{closest(name, metrics)}; expected one of: {', '.join(metrics)}."
        )
