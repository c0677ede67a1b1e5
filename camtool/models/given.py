"""A network that is built already: an nn.Module with its preprocessing, as the networks of configs are."""

from collections.abc import Sequence

from mmengine.config import Config
from torch import Tensor, nn

from camtool.config.loading import LoadedConfig
from camtool.errors import ImageError
from camtool.io.images import Picture
from camtool.models.loading import Network
from camtool.models.sources._base import Preprocess, Source


class GivenModule(Source):
    """Source of a module that the caller has built."""

    def __init__(self, model: nn.Module, class_names: Sequence[str] | None) -> None:
        described = {"type": type(model).__qualname__, **({"classes": list(class_names)} if class_names else {})}
        super().__init__(LoadedConfig(Config({"model": described}), type(model).__name__))
        self._model = model

    def build(self) -> nn.Module:
        return self._model

    def preprocessing(self, model: nn.Module) -> Preprocess:
        return _refuse


def given_network(model: nn.Module, preprocess: Preprocess | None = None, class_names: Sequence[str] | None = None) -> Network:
    """Return a module as the network of an Explainer or a run; the module stays as it is.

    Args:
        preprocess: from a picture uint8 (h, w, 3) in RGB to the input (1, c, h, w); None: only inputs are explained, no pictures.
        class_names: in the order of the scores.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> network = given_network(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), class_names=["red", "green", "blue"])
        >>> network.model(torch.ones(1, 3, 2, 2)), network.class_names(3)
        (tensor([[1., 1., 1.]]), (['red', 'green', 'blue'], ''))
    """
    return Network(model, preprocess or _refuse, None, None, GivenModule(model, class_names))


def _refuse(picture: Picture) -> Tensor:
    raise ImageError("This network was given without preprocessing, so it takes no pictures; expected inputs, tensors (c, *spatial).")
