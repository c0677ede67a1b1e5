"""From config and checkpoint to a network that is ready to be asked."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from camtool.config.loading import LoadedConfig
from camtool.datasets.class_names import names_in_checkpoint
from camtool.errors import CamtoolError, CheckpointError
from camtool.models.checkpoints import Checkpoint, KeyCounts, best_fit, load_into
from camtool.models.class_labels import fitting_names, probabilities
from camtool.models.sources import Source, find_source
from camtool.models.sources._base import Preprocess

RANDOM_SPREAD = 0.02  # zero-initialised heads (MAE, DeiT) would leave no gradient at all


@dataclass
class Network:
    """A model in eval mode on its device, and what belongs to it."""

    model: nn.Module
    preprocess: Preprocess
    checkpoint: str | None
    """None: random weights."""
    digest: str | None
    """The checkpoint's sha256."""
    source: Source = field(repr=False)
    _meta: dict[str, Any] = field(default_factory=dict, repr=False)
    keys: KeyCounts | None = None
    """What the checkpoint gave; None: random weights."""
    names_of_data: Sequence[str] | None = field(default=None, repr=False)
    """Of the data set that is looked at, for a network whose checkpoint and config name no classes."""

    def class_names(self, classes: int) -> tuple[list[str] | None, str]:
        """Return (names, remark); names are None where none fit `classes`, and the remark says why."""
        known: list[tuple[Sequence[str] | None, str]] = [
            (names_in_checkpoint(self._meta), "checkpoint"),
            self.source.class_names(self.model),
        ]
        if self.names_of_data is not None:
            known.append((self.names_of_data, "data set"))
        return fitting_names(known, classes)

    def probabilities(self, logits: Tensor) -> tuple[Tensor, str]:
        """Return (probabilities (n, classes) in [0, 1], "softmax" or "sigmoid")."""
        return probabilities(logits, decides_each_class=self.source.decides_each_class(self.model))


def load_network(
    loaded: LoadedConfig, checkpoint: str | None = None, *, random_weights: bool = False, seed: int = 0, device: str = "cpu"
) -> Network:
    """Return the network of a config with the weights of `checkpoint`, else of the config, else those published with it.

    Args:
        random_weights: no checkpoint: the seeded initialisation plus 0.02 N(0, 1) on every parameter.
        device: "cpu", "cuda", "cuda:1", "mps".

    Raises:
        ConfigError: if the config describes no network that can be built and fed.
        CheckpointError: if the weights are missing, unsafe, unreadable or another network's.
    """
    where = check_device(device)
    source = find_source(loaded)
    weights = None if random_weights else _weights_of(source, checkpoint)
    read = None if weights is None else source.read(weights)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # constructors draw too, and not all is drawn anew by init_weights
        model = source.build()
        if read is None:
            _randomise(model, source)
    preprocess = source.preprocessing(model)
    keys = None if read is None else _load(model, read, source)
    model.eval().requires_grad_(False)
    meta = {} if read is None else read.meta
    return Network(model.to(where), preprocess, weights, read.digest if read else None, source, meta, keys)


def check_device(device: str) -> torch.device:
    """Return the device; CamtoolError if this machine has none such."""
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise CamtoolError(f"Unknown device '{device}'; expected cpu, cuda, cuda:1 or mps.") from error
    if found.type == "cuda" and (not torch.cuda.is_available() or (found.index or 0) >= torch.cuda.device_count()):
        raise CamtoolError(f"Device '{device}' is not there: torch sees {torch.cuda.device_count()} CUDA devices; use --device cpu.")
    if found.type == "mps" and not torch.backends.mps.is_available():
        raise CamtoolError("Device 'mps' is not there; use --device cpu.")
    if found.type not in ("cpu", "cuda", "mps"):
        raise CamtoolError(f"Device '{device}' is not supported; expected cpu, cuda, cuda:1 or mps.")
    return found


def _weights_of(source: Source, given: str | None) -> str:
    named = given or source.loaded.config.get("load_from") or source.published
    if not named:
        raise CheckpointError(
            f"Config '{source.loaded.name}' names no checkpoint; give one as the third argument, as 'load_from' in the config, "
            "or go without weights by --random-weights."
        )
    return str(named)


def _randomise(model: nn.Module, source: Source) -> None:
    source.initialise(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=RANDOM_SPREAD)


def _load(model: nn.Module, checkpoint: Checkpoint, source: Source) -> KeyCounts:
    state = best_fit(model.state_dict(), checkpoint.state, source.loaded.cam.get("checkpoint_keys") or ())
    return load_into(model, source.convert(model, state), checkpoint.source)
