"""Build a network from a config and a checkpoint: model in eval mode, preprocessing, class names."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from camtool.axes import Axes
from camtool.config.loading import LoadedConfig
from camtool.datasets.class_names import names_in_checkpoint
from camtool.errors import CamtoolError, CheckpointError, some
from camtool.io.pillow import Reading
from camtool.models.checkpoints import Checkpoint, KeyCounts, load_into
from camtool.models.class_labels import fitting_names, probabilities
from camtool.models.filling import own_tensors
from camtool.models.sources import Source, find_source
from camtool.models.sources._base import Preprocess
from camtool.models.sources.by_kind import AnyReading, NetworkInput, blank, files_read

RANDOM_SPREAD = 0.02  # zero-initialised heads (MAE, DeiT) would have no gradient


@dataclass
class Network:
    """A model in eval mode on its device, with preprocessing, checkpoint and class names."""

    model: nn.Module
    preprocess: Preprocess
    """From an image uint8 (h, w, 3) in RGB to the input (1, c, h, w) float32 on the CPU."""
    checkpoint: str | None
    """Path or address of the weights; None: random weights."""
    digest: str | None
    """Sha256 of the checkpoint; None if it is no file."""
    source: Source = field(repr=False)
    """Where the network comes from (mmpretrain, timm, …): builds it, and forms its inputs."""
    _meta: dict[str, Any] = field(default_factory=dict, repr=False)
    keys: KeyCounts | None = None
    """Numbers of keys loaded from the checkpoint; None: random weights."""
    wrapper: str = ""
    """The names before the weights' own in the checkpoint, such as "state_dict_ema.module"; "" if there are none."""
    names_of_data: Sequence[str] | None = field(default=None, repr=False)
    """Class names of the data set at hand, used if neither checkpoint nor config names the classes."""
    gives_probabilities: bool | None = field(default=None, repr=False)
    """Whether the network's outputs are probabilities already; None: not known yet."""

    @property
    def kind(self) -> str:
        """What an input is: "image", "volume" or "signal"."""
        return self.source.kind(self.model)

    @property
    def reading(self) -> AnyReading:
        """How the config says that files of inputs are read."""
        return files_read(self.source.loaded, self.kind)

    @property
    def picture_reading(self) -> Reading:
        """How files of pictures are read: by the config if inputs are pictures, else as they are."""
        reading = self.reading
        return reading if isinstance(reading, Reading) else Reading()

    @property
    def shown(self) -> Sequence[int]:
        """Which channels of its input are looked at, as red, green and blue or one; () where pictures are RGB."""
        return getattr(self.preprocess, "shown", ())

    def blank(self) -> Any:
        """Return an input of zeros, as `preprocess` takes it: a black picture, a volume, a signal."""
        own = getattr(self.preprocess, "blank", None)
        return blank(self.kind, self.model) if own is None else own

    def inputs(self, pictures: Tensor, axes: str | None = None) -> Any:
        """Return the network's call arguments for preprocessed pictures (n, c, h, w).

        Args:
            axes: letters of the axes that the network's input has, such as "nhwc"; None: those of the pictures.

        Raises:
            CamtoolError: if the network's input has other spatial axes than a picture.
        """
        return self.source.inputs(pictures if axes is None else Axes(axes).from_picture(pictures))

    def class_names(self, classes: int) -> tuple[list[str] | None, str]:
        """Return (class names, ""); (None, reason) if no names for `classes` classes are known."""
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
    """Return the network of a config with weights and preprocessing.

    Args:
        checkpoint: path or address of the weights; None: the config's `load_from`, else the weights published for the config's name.
        random_weights: load no checkpoint; initialise with `seed` and add 0.02 N(0, 1) to every parameter.
        device: "cpu", "cuda", "cuda:1", "mps".

    Raises:
        ConfigError: if the network or its preprocessing cannot be built.
        CheckpointError: if the weights are missing, unsafe, unreadable or of another network, or random ones are asked for beside them.
        CamtoolError: if the device is not available.

    Example:
        >>> import numpy as np
        >>> from camtool.config.loading import load_config
        >>> network = load_network(load_config("torchvision/squeezenet1_1"), random_weights=True)
        >>> inputs = network.preprocess(np.zeros((300, 400, 3), dtype=np.uint8))
        >>> inputs.shape, network.model(inputs).shape, network.class_names(1000)[0][1]
        (torch.Size([1, 3, 224, 224]), torch.Size([1, 1000]), 'goldfish')
    """
    torch_device = check_device(device)
    if checkpoint and random_weights:
        raise CheckpointError(
            f"Expected a checkpoint or random weights, got both: CHECKPOINT '{checkpoint}' and --random-weights. Leave one of them out."
        )
    source = find_source(loaded)
    weights = None if random_weights else _weights_of(source, checkpoint)
    loaded_checkpoint = None if weights is None else source.read(weights)
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):  # the same weights for every device
        torch.manual_seed(seed)  # constructors draw as well, and init_weights does not redraw everything
        model = source.build()
        if loaded_checkpoint is None:
            _randomise(model, source)
    preprocess = source.preprocessing(model)
    keys, wrapper = (None, "") if loaded_checkpoint is None else _load(model, loaded_checkpoint, source)
    model.eval().requires_grad_(False)
    meta, digest = ({}, None) if loaded_checkpoint is None else (loaded_checkpoint.meta, loaded_checkpoint.digest)
    return Network(model.to(torch_device), preprocess, weights, digest, source, meta, keys, wrapper=wrapper)


def kind_of(loaded: LoadedConfig) -> str:
    """Return what an input of a config's network is, "image", "volume" or "signal"; its weights are not read.

    Raises:
        ConfigError: if the network cannot be built.

    Example:
        >>> from camtool.config.loading import load_config
        >>> kind_of(load_config("timm/resnet18"))
        'image'
    """
    source = find_source(loaded)
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        return source.kind(source.build()) if source.kind_by_layers else source.kind(nn.Identity())


def load_input(loaded: LoadedConfig) -> NetworkInput:
    """Return how samples become the input of a config's network; its weights are not read.

    Raises:
        ConfigError: if the network or its preprocessing cannot be built.

    Example:
        >>> from camtool.config.loading import load_config
        >>> load_input(load_config("configs/torch_model/bright_signal.py")).to_dict()["preprocess"]
        {'rate': 100, 'normalise': 'zscore'}
    """
    source = find_source(loaded)
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        model = source.build()
        return NetworkInput(files_read(loaded, source.kind(model)), source.preprocessing(model))


def check_device(device: str) -> torch.device:
    """Return the torch device; CamtoolError if it is unknown or this machine does not have it."""
    try:
        torch_device = torch.device(device)
    except RuntimeError as error:
        raise CamtoolError(f"Unknown device '{device}'; expected cpu, cuda, cuda:1 or mps.") from error
    if torch_device.type == "cuda" and (not torch.cuda.is_available() or (torch_device.index or 0) >= torch.cuda.device_count()):
        raise CamtoolError(f"Device '{device}' is not available: torch finds {torch.cuda.device_count()} CUDA devices. Use --device cpu.")
    if torch_device.type == "mps" and not torch.backends.mps.is_available():
        raise CamtoolError("Device 'mps' is not available. Use --device cpu.")
    if torch_device.type not in ("cpu", "cuda", "mps"):
        raise CamtoolError(f"Device '{device}' is not supported; expected cpu, cuda, cuda:1 or mps.")
    return torch_device


def _weights_of(source: Source, checkpoint: str | None) -> str:
    address = checkpoint or _beside_config(source.loaded) or source.published
    if not address:
        raise CheckpointError(
            f"Config '{source.loaded.name}' names no checkpoint. Give one as the third argument or as 'load_from' in the config, "
            "or use random weights by --random-weights."
        )
    return str(address)


def _beside_config(loaded: LoadedConfig) -> str | None:
    """Return the config's `load_from`, as a path that is relative to the config where that is a file, else as it is."""
    named = loaded.config.get("load_from")
    if not isinstance(named, str) or not named or not loaded.config.filename:
        return named
    beside = os.path.join(os.path.dirname(loaded.config.filename), os.path.expanduser(named))
    return beside if os.path.isfile(beside) else named


def _randomise(model: nn.Module, source: Source) -> None:
    source.initialise(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=RANDOM_SPREAD)


def _load(model: nn.Module, checkpoint: Checkpoint, source: Source) -> tuple[KeyCounts, str]:
    """Return what the checkpoint filled, and under which name in the file the weights stood."""
    cam = source.loaded.cam
    key = cam.get("checkpoint_key") or ""
    if not checkpoint.containers and key:
        raise CheckpointError(f"Expected a file where --checkpoint-key '{key}' is given; '{checkpoint.address}' has one set of weights.")
    if not checkpoint.state:  # the network was built with its weights
        return KeyCounts(len(own_tensors(model)), 0, 0), ""
    found = checkpoint.weights_for(model.state_dict(), cam.get("checkpoint_keys") or (), key)
    remark = ""
    if found.others:
        names = some([f"'{name}'" if name else "the file's own keys" for name in found.others])
        taken = f"'{found.wrapper}'" if found.wrapper else "its own keys"
        remark = f"Its weights are those of {taken}; other weights of this network are in {names}: --checkpoint-key NAME chooses."
    state = found.state if found.whole else source.convert(model, found.state)
    return load_into(model, state, checkpoint.address, remark, source.classes_option), found.wrapper
