"""Source of mmpretrain: classifiers of OpenMMLab configs, built by its registries."""

import copy
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.registry import DefaultScope
from torch import nn

from camtool.config.loading import LoadedConfig, as_mapping, find_test_dataset
from camtool.config.shipped import NO_CLASSIFIER, OTHER_SCOPES
from camtool.datasets.class_names import as_names
from camtool.errors import ConfigError, closest
from camtool.models.sources._base import Preprocess, Source
from camtool.models.sources.kinds import IMAGE, VOLUME, input_kind, said_preprocess
from camtool.models.sources.mmpretrain_pipeline import PicturePipeline, SignalPipeline, VolumePipeline
from camtool.registry import known_types, unknown_type


class MMPretrainModel(Source):
    """Source of models in mmpretrain's registry. Published weights: those of `model.init_cfg`, else those of the config's name."""

    classes_option = "model.head.num_classes={}"
    kind_by_layers = True

    def __init__(self, loaded: LoadedConfig) -> None:
        super().__init__(loaded)
        init_cfg = loaded.config.model.get("init_cfg")
        init_weights = init_cfg.get("checkpoint") if isinstance(init_cfg, Mapping) else None
        weights = init_weights or loaded.zoo_weights
        self.published = str(weights) if weights else None

    def build(self) -> nn.Module:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # mmcv-lite warns about the operators it lacks
            import mmpretrain.models  # noqa: F401 - registers the networks
            from mmpretrain.registry import MODELS

        self._check_task(MODELS)
        config = _without_pretrained(copy.deepcopy(self.loaded.config.model))
        preprocessor = self.loaded.config.get("data_preprocessor")
        if preprocessor and not config.get("data_preprocessor"):
            config["data_preprocessor"] = copy.deepcopy(preprocessor)
        try:
            with DefaultScope.overwrite_default_scope("mmpretrain"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = MODELS.build(config)
        except Exception as error:
            raise ConfigError(f"Cannot build the model of '{self.loaded.name}': {_reason(error)}") from error
        # Classifiers of timm and transformers inside mmpretrain have no head of its own.
        has_scores = getattr(model, "head", None) is not None or type(model).__name__ in ("TimmClassifier", "HuggingFaceClassifier")
        if not isinstance(getattr(model, "data_preprocessor", None), nn.Module) or not has_scores:
            raise ConfigError(
                f"The model of '{self.loaded.name}', a {type(model).__name__}, is not a classifier: it has no head. "
                "Expected an ImageClassifier with a head."
            )
        return model

    def _check_task(self, models: Any) -> None:
        """Raise ConfigError for a config of another task, named as what it is."""
        from mmpretrain.models import BaseSelfSupervisor

        name, scope = self.loaded.name, self.loaded.config.get("default_scope")
        kind = self.loaded.config.model.get("type")
        found = kind if isinstance(kind, type) else models.get(str(kind)) if isinstance(kind, str) and "." not in kind else None
        if found is None and scope in OTHER_SCOPES:
            raise ConfigError(f"'{name}' is a config of {scope}, for {OTHER_SCOPES[scope]} ('{kind}'). {NO_CLASSIFIER}")
        if isinstance(found, type) and issubclass(found, BaseSelfSupervisor):
            raise ConfigError(
                f"'{name}' is a config of self-supervised pre-training ({found.__name__}), which has no classes. Expected a classifier, "
                "such as mmpretrain's config that fine-tunes the same backbone, or its linear probe."
            )

    def initialise(self, model: nn.Module) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.init_weights()  # type: ignore[operator]  # every model of mmengine has it

    def kind(self, model: nn.Module) -> str:
        return input_kind(self.loaded, model)

    def preprocessing(self, model: nn.Module) -> Preprocess:
        kind = self.kind(model)
        if kind == IMAGE:
            return PicturePipeline(self.loaded.config, model)
        pipeline = VolumePipeline if kind == VOLUME else SignalPipeline
        return pipeline(said_preprocess(self.loaded), self.loaded.config, model)

    def class_names(self, model: nn.Module) -> tuple[Sequence[str] | None, str]:
        return _names_of_dataset(self.loaded.config), "dataset"

    def decides_each_class(self, model: nn.Module) -> bool:
        from mmpretrain.models.heads import MultiLabelClsHead

        return isinstance(getattr(model, "head", None), MultiLabelClsHead)


def _reason(error: Exception) -> str:
    from mmpretrain.registry import MODELS

    unknown = unknown_type(error)
    if unknown:
        return f"unknown model type '{unknown[0]}'{closest(unknown[0], known_types(MODELS))}."
    text = " ".join(str(error).replace("\\n", " ").split())
    return text[:400] or type(error).__name__


def _without_pretrained(config: Any) -> Any:
    # Training configs name pretrained weights of parts; here every weight comes from the checkpoint, or is random.
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


def _names_of_dataset(config: Any) -> list[str] | None:
    dataset = find_test_dataset(config)
    if not dataset:
        return None
    names = as_names(as_mapping(dataset.get("metainfo"), "metainfo").get("classes") or dataset.get("classes"))
    if names is not None:
        return names
    from mmpretrain.registry import DATASETS

    dataset_class = DATASETS.get(dataset["type"]) if isinstance(dataset.get("type"), str) else dataset.get("type")
    return as_names((getattr(dataset_class, "METAINFO", None) or {}).get("classes"))
