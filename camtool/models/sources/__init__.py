"""Sources: where networks come from, one file each, imported only when a config asks for it."""

from importlib import import_module

from camtool.errors import ConfigError, closest
from camtool.models.configs import LoadedConfig
from camtool.models.sources._base import Source as Source

SCOPE = "camtool."

_OF_TYPE = {
    "camtool.HuggingFaceModel": ("hugging_face", "HuggingFaceModel"),
    "camtool.TimmModel": ("timm_models", "TimmModel"),
    "camtool.TorchModel": ("torch_model", "TorchModel"),
    "camtool.TorchvisionModel": ("torchvision_models", "TorchvisionModel"),
}


def find_source(loaded: LoadedConfig) -> Source:
    """Return the source that the config's `model.type` names; whatever is not `camtool.…` is mmpretrain's.

    Raises:
        ConfigError: if camtool has no such source, or the config's `model` is not what it expects.
    """
    kind = loaded.config.model.get("type")
    if isinstance(kind, type) and issubclass(kind, Source):
        return kind(loaded)
    if not str(kind).startswith(SCOPE):
        module, name = "mmpretrain_models", "MMPretrainModel"
    elif kind in _OF_TYPE:
        module, name = _OF_TYPE[kind]
    else:
        raise ConfigError(f"Unknown model type '{kind}'{closest(str(kind), _OF_TYPE)}; expected one of: {', '.join(_OF_TYPE)}.")
    source: type[Source] = getattr(import_module(f"camtool.models.sources.{module}"), name)
    return source(loaded)
