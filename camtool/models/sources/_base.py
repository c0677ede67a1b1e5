"""What a source of networks is: how a network is built, fed and named."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from camtool.config.loading import LoadedConfig
from camtool.datasets.class_names import as_names
from camtool.errors import ConfigError
from camtool.io.images import Picture
from camtool.models.checkpoints import Checkpoint, read_checkpoint

Preprocess = Callable[[Picture], Tensor]
"""Picture uint8 (h, w, 3) in RGB to the input (1, c, h, w) float32, on the CPU."""


class Source(ABC):
    """One origin of networks, made from a checked config whose `model.type` names it.

    Keys of `model` that every source but mmpretrain's takes: `classes` (names in the order of the scores) and `multi_label`
    (True: each class is decided by itself).

    Raises:
        ConfigError: from any of its parts, if the config does not describe a network of this source.
    """

    published: str | None = None
    """The weights that belong to the network where neither command line nor `load_from` names any."""

    own_keys: ClassVar[Sequence[str]] = ()
    """Keys of `model` that are the source's; it may hand the others to a constructor."""

    def __init__(self, loaded: LoadedConfig) -> None:
        self.loaded = loaded
        self.options: dict[str, Any] = loaded.config.model.to_dict()
        """The config's `model`."""
        if "classes" in self.options and as_names(self.options["classes"]) is None:
            raise ConfigError(f"'model.classes' of '{loaded.name}' must be a list of names, got {self.options['classes']!r}.")
        if not isinstance(self.options.get("multi_label", False), bool):
            raise ConfigError(f"'model.multi_label' of '{loaded.name}' must be True or False, got {self.options['multi_label']!r}.")

    @abstractmethod
    def build(self) -> nn.Module:
        """Return the network as its constructor leaves it, without weights from anywhere."""

    def initialise(self, model: nn.Module) -> None:  # noqa: B027 - most constructors have drawn them
        """Draw the random weights of a network that gets no checkpoint, where the constructor does not."""

    def read(self, weights: str) -> Checkpoint:
        """Return a checkpoint; CheckpointError if it is missing, damaged or unsafe."""
        return read_checkpoint(weights)

    def convert(self, model: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return `state` as this network names and shapes it, where the source's library has older forms."""
        return state

    @abstractmethod
    def preprocessing(self, model: nn.Module) -> Preprocess:
        """Return what turns a picture into the network's input."""

    def inputs(self, picture: Tensor) -> Any:
        """Return what the network is called with: the picture's tensor, or a tuple or dict with it."""
        return picture

    @property
    def picture_input(self) -> tuple[str | int, ...] | None:
        """Where in `inputs()` the picture's tensor is: keys and positions, outermost first; None where it is all."""
        return None

    def class_names(self, model: nn.Module) -> tuple[Sequence[str] | None, str]:
        """Return (names, whose they are), of the data that the network was trained on; None where they are not known."""
        return as_names(self.options.get("classes")), "config"

    def decides_each_class(self, model: nn.Module) -> bool:
        """Return whether the scores are of independent classes: sigmoid, not softmax."""
        return self.options.get("multi_label", False)

    def arguments(self) -> dict[str, Any]:
        """Return the keys of `model` that are meant for the constructor."""
        ours = ("type", "classes", "multi_label", *self.own_keys)
        return {key: value for key, value in self.options.items() if key not in ours}

    def constructed(self, constructor: Callable[[], Any]) -> nn.Module:
        """Return what a library's constructor makes; ConfigError, in words, where it fails or makes no nn.Module."""
        try:
            model = constructor()
        except ConfigError:
            raise
        except (Exception, SystemExit) as error:
            text = " ".join(str(error).split())[:400]
            raise ConfigError(f"Cannot build the model of '{self.loaded.name}': {type(error).__name__}: {text}") from error
        if not isinstance(model, nn.Module):
            raise ConfigError(f"The model of '{self.loaded.name}' must be a torch.nn.Module, got a {type(model).__name__}.")
        return model
