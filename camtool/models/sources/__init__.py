"""Sources: where networks come from, one file each, imported only when a config asks for it."""

from importlib import import_module

from camtool.config.loading import LoadedConfig
from camtool.errors import ConfigError, closest
from camtool.models.sources._base import Source as Source

SCOPE = "camtool."

CLASSIFIERS = ("camtool.ResNetCAM",)
"""camtool's own classifiers: of mmpretrain's kind, in `camtool.models.classifiers`."""

HUGGING_FACE = "camtool.HuggingFaceModel"

_OF_TYPE = {
    HUGGING_FACE: ("huggingface_source", "HuggingFaceModel"),
    "camtool.TimmModel": ("timm_source", "TimmModel"),
    "camtool.TorchModel": ("custom_source", "TorchModel"),
    "camtool.TorchvisionModel": ("torchvision_source", "TorchvisionModel"),
}


def find_source(loaded: LoadedConfig) -> Source:
    """Return the source that the config's `model.type` names; classifiers, and whatever is not `camtool.…`, are mmpretrain's.

    Raises:
        ConfigError: if camtool has no such source, or the config's `model` is not what it expects.
    """
    kind = loaded.config.model.get("type")
    if isinstance(kind, type) and issubclass(kind, Source):
        return kind(loaded)
    if kind in CLASSIFIERS or not str(kind).startswith(SCOPE):
        module, name = "mmpretrain_source", "MMPretrainModel"
    elif kind in _OF_TYPE:
        module, name = _OF_TYPE[kind]
    else:
        known = (*CLASSIFIERS, *_OF_TYPE)
        raise ConfigError(f"Unknown model type '{kind}'{closest(str(kind), known)}; expected one of: {', '.join(known)}.")
    source: type[Source] = getattr(import_module(f"camtool.models.sources.{module}"), name)
    return source(loaded)
