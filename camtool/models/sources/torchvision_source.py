"""Source of torchvision: `torchvision/<name>` on the command line, or `model=dict(type='camtool.TorchvisionModel', name=…)` in a config."""

import warnings
from collections.abc import Sequence

import torchvision
from torch import nn
from torchvision.models import GoogLeNet, Inception3

from camtool.config.loading import LoadedConfig
from camtool.errors import ConfigError, closest
from camtool.models.sources._base import Preprocess, Source
from camtool.models.sources.preprocessing import described, of_pil


class TorchvisionModel(Source):
    """Source of torchvision's classifiers, with the preprocessing and class names of their weights.

    `weights` selects other weights than the default (`IMAGENET1K_V1`); `preprocess` replaces theirs; other keys (`num_classes`, …) go to
    the model's builder.
    """

    own_keys = ("name", "weights", "preprocess")

    def __init__(self, loaded: LoadedConfig) -> None:
        super().__init__(loaded)
        self._name = str(self.options.get("name", ""))
        names = torchvision.models.list_models(module=torchvision.models)
        if self._name not in names:
            raise ConfigError(f"torchvision {torchvision.__version__} has no classifier '{self._name}'{closest(self._name, names)}.")
        choices = torchvision.models.get_model_weights(self._name)
        tag = str(self.options.get("weights", "DEFAULT"))
        if tag not in choices.__members__:
            raise ConfigError(f"torchvision has no weights '{tag}' of '{self._name}'; expected one of: {', '.join(choices.__members__)}.")
        self._weights = choices[tag]
        self.published = self._weights.url

    def build(self) -> nn.Module:
        arguments = self.arguments()

        def construct() -> nn.Module:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # announces that two models will be initialised differently in future
                return torchvision.models.get_model(self._name, weights=None, **arguments)

        model = self.constructed(construct)
        if isinstance(model, (GoogLeNet, Inception3)) and "transform_input" not in arguments:
            model.transform_input = True  # as torchvision sets it for the weights whose preprocessing is used
        return model

    def preprocessing(self, model: nn.Module) -> Preprocess:
        return described(self.options["preprocess"]) if "preprocess" in self.options else of_pil(self._weights.transforms())

    def class_names(self, model: nn.Module) -> tuple[Sequence[str] | None, str]:
        if "classes" in self.options or "num_classes" in self.options:
            return super().class_names(model)
        return self._weights.meta["categories"], "config"
