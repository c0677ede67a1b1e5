"""Sources of networks (mmpretrain, timm, torchvision, Hugging Face, your own), one file each, imported when a config needs it."""

from importlib import import_module

from camtool.config.loading import LoadedConfig
from camtool.errors import ConfigError, closest
from camtool.models.sources._base import Source as Source

SCOPE = "camtool."

CLASSIFIERS = ("camtool.ResNetCAM",)
"""camtool's own classifiers in `camtool.models.classifiers`, which mmpretrain's source builds."""

HUGGING_FACE = "camtool.HuggingFaceModel"

_OF_TYPE = {
    HUGGING_FACE: ("huggingface_source", "HuggingFaceModel"),
    "camtool.TimmModel": ("timm_source", "TimmModel"),
    "camtool.TorchModel": ("custom_source", "TorchModel"),
    "camtool.TorchvisionModel": ("torchvision_source", "TorchvisionModel"),
}


def find_source(loaded: LoadedConfig) -> Source:
    """Return the source for the config's `model.type`; types without the scope `camtool.` are mmpretrain's.

    Raises:
        ConfigError: if there is no such source, or `model` lacks or misspells a key.
    """
    model_type = loaded.config.model.get("type")
    if isinstance(model_type, type) and issubclass(model_type, Source):
        return model_type(loaded)
    if f"{SCOPE}{model_type}" in _OF_TYPE:
        raise ConfigError(f"Unknown model type '{model_type}' in '{loaded.name}'; expected '{SCOPE}{model_type}'.")
    if model_type in CLASSIFIERS or not str(model_type).startswith(SCOPE):
        module, name = "mmpretrain_source", "MMPretrainModel"
    elif model_type in _OF_TYPE:
        module, name = _OF_TYPE[model_type]
    else:
        known = (*CLASSIFIERS, *_OF_TYPE)
        raise ConfigError(f"Unknown model type '{model_type}'{closest(str(model_type), known)}; expected one of: {', '.join(known)}.")
    source_class: type[Source] = getattr(import_module(f"camtool.models.sources.{module}"), name)
    return source_class(loaded)
