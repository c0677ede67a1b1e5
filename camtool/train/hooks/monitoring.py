"""Check the metric that a hook monitors."""

from collections.abc import Mapping
from typing import Any

from camtool.errors import ConfigError, closest


def check_monitored(name: str, metrics: Mapping[str, Any], what: str) -> None:
    """Raise ConfigError unless the validation reports the metric `name`.

    Args:
        what: beginning of the message, such as "Early stopping monitors".
    """
    if name not in metrics:
        raise ConfigError(
            f"{what} '{name}', which the validation does not report{closest(name, metrics)}; expected one of: {', '.join(metrics)}."
        )
