"""Source of timm: `timm/<name>` on the command line, or `model=dict(type='camtool.TimmModel', name=…)` in a config."""

import sys
from collections.abc import Mapping, Sequence

import timm
from timm.data import ImageNetInfo, create_transform, infer_imagenet_subset, resolve_model_data_config
from torch import Tensor, nn

from camtool.config.loading import LoadedConfig
from camtool.errors import ConfigError, closest
from camtool.models.hub import HUB
from camtool.models.sources._base import Preprocess, Source
from camtool.models.sources.preprocessing import described, of_pil


class TimmModel(Source):
    """Source of timm's models, with their preprocessing and class names.

    `name` may include a tag of weights (`vit_small_patch16_224.augreg_in1k`); `preprocess` replaces timm's; other keys
    (`num_classes`, `img_size`, …) go to `timm.create_model`.
    """

    own_keys = ("name", "preprocess")

    def __init__(self, loaded: LoadedConfig) -> None:
        super().__init__(loaded)
        self._name = str(self.options.get("name", ""))
        if not timm.is_model(self._name.partition(".")[0]):
            names = [*timm.list_models(), *timm.list_models(pretrained=True)]
            raise ConfigError(f"timm {timm.__version__} has no model '{self._name}'{closest(self._name, names)}.")
        try:
            published = timm.models.get_pretrained_cfg(self._name, allow_unregistered=True)
        except RuntimeError as error:
            tagged = timm.list_models(f"{self._name.partition('.')[0]}.*", pretrained=True)
            choices = f"expected one of: {', '.join(tagged)}" if tagged else "there are none, leave out the dot and what follows it"
            raise ConfigError(f"timm has no weights '{self._name}'; {choices}.") from error
        if published is not None and published.hf_hub_id:
            self.published = HUB + "/".join(filter(None, (published.hf_hub_id, published.hf_hub_filename)))
        elif published is not None and isinstance(published.url, str) and published.url:
            self.published = published.url

    def build(self) -> nn.Module:
        return self.constructed(lambda: timm.create_model(self._name, pretrained=False, **self.arguments()))

    def convert(self, model: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        own = {key: value.shape for key, value in model.state_dict().items()}
        if own == {key: value.shape for key, value in state.items()}:
            return state
        # As create_model(pretrained=True) does: older names, position embeddings of another size.
        module = sys.modules[type(model).__module__]
        convert = getattr(module, "checkpoint_filter_fn", None) or getattr(module, "_filter_fn", None)
        return convert(dict(state), model) if convert else state

    def preprocessing(self, model: nn.Module) -> Preprocess:
        if "preprocess" in self.options:
            return described(self.options["preprocess"])
        overrides = {key: self.options[key] for key in ("img_size", "in_chans") if key in self.options}
        return of_pil(create_transform(**resolve_model_data_config(model, args=overrides)))

    def class_names(self, model: nn.Module) -> tuple[Sequence[str] | None, str]:
        subset = infer_imagenet_subset(model)
        if "classes" in self.options or subset is None:
            return super().class_names(model)
        info = ImageNetInfo(subset)
        return [info.index_to_description(index) for index in range(info.num_classes())], "config"
