"""Source: base class of the origins of networks."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from camtool.config.loading import LoadedConfig
from camtool.datasets.class_names import as_names
from camtool.errors import ConfigError
from camtool.models.checkpoints import Checkpoint, read_checkpoint
from camtool.models.sources.kinds import IMAGE, said_kind
from camtool.models.sources.stray_keys import warn_of_stray_keys

Preprocess = Callable[[Any], Tensor]
"""From an image uint8 (h, w, 3) in RGB, or bands, a Volume or a Signal, to the input (1, c, *spatial) float32, on the CPU."""


class Source(ABC):
    """An origin of networks: builds the network of a config, its preprocessing and inputs, and knows its class names.

    Every source but mmpretrain's has these keys of `model`: `classes` (names in the order of the scores) and `multi_label`
    (True: independent classes).

    Raises:
        ConfigError: from the constructor and any method, if the config does not describe a network of this source.
    """

    published: str | None = None
    """Address of the published weights, used if neither the command line nor `load_from` names any; None: there are none."""

    kind_by_layers: ClassVar[bool] = False
    """Whether the layers tell what an input is, where the config does not."""

    own_keys: ClassVar[Sequence[str]] = ()
    """Keys of `model` that the source itself reads; `arguments()` are the others."""

    def __init__(self, loaded: LoadedConfig) -> None:
        self.loaded = loaded
        self.options: dict[str, Any] = loaded.config.model.to_dict()
        """The config's `model` dict."""
        if "classes" in self.options and as_names(self.options["classes"]) is None:
            raise ConfigError(f"'model.classes' of '{loaded.name}' must be a list of names, got {self.options['classes']!r}.")
        if not isinstance(self.options.get("multi_label", False), bool):
            raise ConfigError(f"'model.multi_label' of '{loaded.name}' must be True or False, got {self.options['multi_label']!r}.")
        of_camtool = str(self.options.get("type")).startswith("camtool.")  # mmpretrain's have keys of their own
        warn_of_stray_keys(loaded, ("classes", "multi_label", *self.own_keys) if of_camtool else ())

    classes_option = "model.num_classes={}"
    """The override by which the network has another number of classes."""

    @abstractmethod
    def build(self) -> nn.Module:
        """Return the network without loading any weights."""

    def initialise(self, model: nn.Module) -> None:  # noqa: B027 - most constructors do so
        """Initialise random weights, if the constructor does not; called for networks without a checkpoint."""

    def read(self, weights: str) -> Checkpoint:
        """Return the checkpoint at an address; CheckpointError if it is missing, damaged or unsafe."""
        return read_checkpoint(weights)

    def convert(self, model: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return `state` converted to the current names and shapes of this network, where the library has older ones."""
        return state

    def kind(self, model: nn.Module) -> str:
        """Return what an input is, "image", "volume" or "signal": as the config's `input` says, else an image."""
        return said_kind(self.loaded) or IMAGE

    @abstractmethod
    def preprocessing(self, model: nn.Module) -> Preprocess:
        """Return the function from an image to the network's input."""

    def inputs(self, picture: Tensor) -> Any:
        """Return the network's call arguments for an image tensor: the tensor itself, or a tuple or dict that contains it."""
        return picture

    @property
    def picture_input(self) -> tuple[str | int, ...] | None:
        """Keys and positions that lead to the image tensor in `inputs()`, outermost first; None if it is the only input."""
        return None

    @property
    def input_axes(self) -> str | None:
        """Letters of the axes of the input that the maps lie over, such as "ntchw": the config's, else what the source knows of it.

        None: those that the network itself is known to take, else n, c, spatial.
        """
        return self.loaded.cam.get("input_axes")

    def class_names(self, model: nn.Module) -> tuple[Sequence[str] | None, str]:
        """Return (class names or None, their owner for messages, such as "config")."""
        return as_names(self.options.get("classes")), "config"

    def decides_each_class(self, model: nn.Module) -> bool:
        """Return whether classes are independent (multi-label): sigmoid instead of softmax."""
        return self.options.get("multi_label", False)

    def arguments(self) -> dict[str, Any]:
        """Return the keys of `model` that are arguments of the network's constructor."""
        own = ("type", "classes", "multi_label", *self.own_keys)
        return {key: value for key, value in self.options.items() if key not in own}

    def constructed(self, constructor: Callable[[], Any]) -> nn.Module:
        """Return the result of `constructor`; ConfigError if it raises or returns no nn.Module."""
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
