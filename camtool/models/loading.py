"""From config and checkpoint to a network that is ready to be asked."""

import copy
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from camtool.data.images import Picture
from camtool.errors import CamtoolError, CheckpointError, ConfigError, closest
from camtool.models.checkpoints import Checkpoint, load_into, map_keys, read_checkpoint
from camtool.models.classes import class_names
from camtool.models.configs import LoadedConfig
from camtool.models.preprocessing import Preprocessing

RANDOM_SPREAD = 0.02  # zero-initialised heads (MAE, DeiT) would leave no gradient at all


@dataclass
class Network:
    """A model in eval mode on its device, and what belongs to it."""

    model: nn.Module
    preprocess: Callable[[Picture], Tensor]
    """Picture uint8 (h, w, 3) in RGB to the input (1, c, h, w), on the CPU."""
    checkpoint: str | None
    """None: random weights."""
    digest: str | None
    """The checkpoint's sha256."""
    _config: Config = field(repr=False)
    _meta: dict[str, Any] = field(default_factory=dict, repr=False)

    def class_names(self, classes: int) -> tuple[list[str] | None, str]:
        """Return (names, remark); names are None where none fit `classes`, and the remark says why."""
        return class_names(self._config, self._meta, classes)


def load_network(
    loaded: LoadedConfig, checkpoint: str | None = None, *, random_weights: bool = False, seed: int = 0, device: str = "cpu"
) -> Network:
    """Return the network of a config with the weights of `checkpoint`, else of the config, else of the zoo.

    Args:
        random_weights: no checkpoint: the seeded initialisation plus 0.02 N(0, 1) on every parameter.
        device: "cpu", "cuda", "cuda:1", "mps".

    Raises:
        ConfigError: if the config describes no network that can be built and fed.
        CheckpointError: if the weights are missing, unsafe, unreadable or another network's.
    """
    where = check_device(device)
    source = None if random_weights else _checkpoint_of(loaded, checkpoint)
    read = None if source is None else read_checkpoint(source)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # constructors draw too, and not all is drawn anew by init_weights
        model = _build(loaded)
        if read is None:
            _randomise(model)
    preprocess = Preprocessing(loaded.config, model)
    if read is not None:
        _load(model, read, loaded)
    model.eval().requires_grad_(False)
    meta = {} if read is None else read.meta
    return Network(model.to(where), preprocess, source, read.digest if read else None, loaded.config, meta)


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


def _checkpoint_of(loaded: LoadedConfig, given: str | None) -> str:
    config = loaded.config
    init = config.model.get("init_cfg")
    test = (config.get("data_cfg") or {}).get("test") or {}
    candidates = [
        given,
        config.get("load_from"),
        init.get("checkpoint") if isinstance(init, Mapping) else None,
        test.get("ckpt"),
        loaded.zoo_weights,
    ]
    for candidate in candidates:
        if candidate:
            return str(candidate)
    raise CheckpointError(
        f"Config '{loaded.source}' names no checkpoint; give one as the third argument, as 'load_from' in the config, "
        "or go without weights by --random-weights."
    )


def _build(loaded: LoadedConfig) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mmcv-lite remarks on what it leaves out
        import mmpretrain.models  # noqa: F401 - registers the networks
        from mmpretrain.registry import MODELS

    config = _without_pretrained(copy.deepcopy(loaded.config.model))
    shared = loaded.config.get("data_preprocessor")
    if shared and not config.get("data_preprocessor"):
        config["data_preprocessor"] = copy.deepcopy(shared)
    try:
        with DefaultScope.overwrite_default_scope("mmpretrain"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = MODELS.build(config)
    except Exception as error:
        raise ConfigError(f"Cannot build the model of '{loaded.source}': {_explained(error)}") from error
    if not isinstance(getattr(model, "data_preprocessor", None), nn.Module) or getattr(model, "head", None) is None:
        raise ConfigError(
            f"The model of '{loaded.source}', a {type(model).__name__}, is no classifier: it has no head. "
            "Expected an ImageClassifier with a head."
        )
    return model


_UNKNOWN_TYPE = re.compile(r"([\w.]+) is not in the ([\w:]+) registry")


def _explained(error: Exception) -> str:
    from mmpretrain.registry import MODELS

    text = " ".join(str(error).replace("\\n", " ").split())
    unknown = _UNKNOWN_TYPE.search(text)
    if unknown:
        known = {*MODELS.module_dict, *(MODELS.parent.module_dict if MODELS.parent else ())}
        return f"unknown model type '{unknown[1]}'{closest(unknown[1], known)}."
    return text[:400] or type(error).__name__


def _without_pretrained(config: Any) -> Any:
    # A config to start training from names weights of a part; every weight comes from the checkpoint here, or is random.
    if isinstance(config, dict):
        for key, value in list(config.items()):
            if key == "init_cfg" and "Pretrained" in str(value):
                config[key] = None
            elif key == "pretrained" and value:
                config[key] = False if value is True else None
            else:
                _without_pretrained(value)
    elif isinstance(config, (list, tuple)):
        for value in config:
            _without_pretrained(value)
    return config


def _randomise(model: nn.Module) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        initialise: Any = getattr(model, "init_weights", None)
        if initialise is not None:
            initialise()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=RANDOM_SPREAD)


def _load(model: nn.Module, checkpoint: Checkpoint, loaded: LoadedConfig) -> None:
    rules = loaded.cam.get("checkpoint_keys")
    state = checkpoint.state
    if rules:
        mapped = map_keys(state, rules)
        own = model.state_dict().keys()
        # The rules are for the checkpoint that the config names; one saved from this very network needs none.
        if len(own & mapped.keys()) >= len(own & state.keys()):
            state = mapped
    load_into(model, state, checkpoint.source)
