"""ModelRequest: the choice of a config, weights and device, from which the network is built."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from camtool.config.loading import LoadedConfig
from camtool.config.overrides import parse_options
from camtool.config.yaml_config import load_either
from camtool.errors import ConfigError
from camtool.models import Network, load_network
from camtool.models.loading import check_device


@dataclass(frozen=True)
class ModelRequest:
    """The choice of a network, its weights and its device."""

    config: str
    """A path, `mmpretrain::family/name.py`, `timm/NAME`, …, or a known name."""
    checkpoint: str | None = None
    """Weights; None: those of the config, else the published ones."""
    device: str = "cpu"
    cfg_options: Sequence[str] | Mapping[str, Any] = field(default_factory=dict)
    """Overrides in the config: `["a.b=c"]` or `{"a.b": c}`."""
    random_weights: bool = False
    seed: int = 0
    """For random weights and for methods that draw random numbers."""
    checkpoint_key: str = ""
    """Name in the checkpoint under which the weights are, as `cam.checkpoint_key`; "": that of the config, else it is found."""

    def read_config(self) -> LoadedConfig:
        """Return the config and import its `custom_imports`; the device is checked first.

        Raises:
            CamtoolError: if this machine has no such device.
            ConfigError: if there is no such config, or it cannot be read.
        """
        check_device(self.device)
        if self.checkpoint_key and self.random_weights:
            raise ConfigError("Expected a checkpoint or random weights, got both: --checkpoint-key and --random-weights.")
        given = self.cfg_options
        options = dict(given) if isinstance(given, Mapping) else parse_options(given)
        return load_either(self.config, {**options, "cam.checkpoint_key": self.checkpoint_key} if self.checkpoint_key else options)

    def build(self, loaded: LoadedConfig) -> Network:
        """Return the network with its weights, on its device; ConfigError or CheckpointError if it cannot be built or loaded."""
        return load_network(loaded, self.checkpoint, random_weights=self.random_weights, seed=self.seed, device=self.device)


def as_layout(layout: str, vit_like: bool, num_extra_tokens: int | None) -> str | dict[str, Any] | None:
    """Return the layout of `--layout`, or of `--vit-like` and `--num-extra-tokens`; None if none of them is given.

    Raises:
        ConfigError: if a layout and the number of its leading tokens are given apart.
    """
    if layout and num_extra_tokens is not None:
        raise ConfigError(f"--layout and --num-extra-tokens are given; expected one of them, such as 'Tokens(front={num_extra_tokens})'.")
    if layout:
        return layout
    return {"type": "Tokens", "num_extra_tokens": num_extra_tokens} if vit_like or num_extra_tokens is not None else None


def quiet_libraries() -> int:
    """Set the log level of libraries to ERROR; return the previous level."""
    from mmengine.logging import MMLogger

    logger = MMLogger.get_current_instance()
    level: int = logger.level
    logger.setLevel(logging.ERROR)
    return level


@contextmanager
def quieted_libraries() -> Iterator[None]:
    """Set the log level of libraries to ERROR within a `with` block."""
    from mmengine.logging import MMLogger

    level = quiet_libraries()
    try:
        yield
    finally:
        MMLogger.get_current_instance().setLevel(level)
