"""Preprocessing by the test pipeline of a config of mmpretrain: of pictures, and of volumes and signals that the network was trained on."""

import copy
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from camtool.config.loading import find_test_dataset, find_test_pipeline
from camtool.errors import ConfigError, closest, times
from camtool.io.images import Picture
from camtool.io.signals import Signal
from camtool.io.volumes import Volume
from camtool.models.sources.signal_preprocessing import SignalPreprocess
from camtool.models.sources.volume_preprocessing import VolumePreprocess
from camtool.registry import known_types

# Pipelines for these data sets do not load or resize: the data set gives RGB arrays of a fixed size.
_SIZES_OF_ARRAY_DATASETS = {"CIFAR10": 32, "CIFAR100": 32, "MNIST": 28, "FashionMNIST": 28}


class PipelineSteps:
    """What a config does with an image behind its loading: the other steps of its test pipeline, then the network's data preprocessor.

    Raises:
        ConfigError: if the config has no test pipeline, or a transform is unknown or cannot be built.
    """

    def __init__(self, config: Config, model: nn.Module) -> None:
        steps = find_test_pipeline(config)
        loads = _loads_file(config)
        self.loads_grey = loads and steps[0].get("color_type") in ("grayscale", "unchanged_gray")
        """Whether files are loaded as grey pictures."""
        self.data_preprocessor: Any = model.data_preprocessor
        """Of the network: normalises batches."""
        self._steps = _built(steps[1:] if loads else steps)

    def __call__(self, image: np.ndarray) -> Tensor:
        """Return the network's input (1, c, *spatial) in float32 for an array (*spatial, c), as a loaded file or the data set has it.

        Raises:
            ConfigError: if a step fails or rejects the image, or several inputs come of it.
        """
        size = image.shape[:2]
        results: dict[str, Any] = {"img": image, "img_shape": size, "ori_shape": size, "img_path": ""}
        try:
            for step in self._steps:
                results = step(results)
                if results is None:
                    raise ConfigError(f"The test pipeline's {type(step).__name__} rejects this image of {times(image.shape[:-1])}.")
            packed = results["inputs"]
            batch = {"inputs": [packed] if packed.ndim == 3 else packed[None], "data_samples": [results["data_samples"]]}  # lists: pictures
            inputs = self.data_preprocessor(batch, False)["inputs"]
        except ConfigError:
            raise
        except Exception as error:
            text = " ".join(str(error).split())[:300].rstrip(".")
            raise ConfigError(f"The config's test pipeline fails on this image: {type(error).__name__}: {text}.") from error
        if not isinstance(inputs, Tensor) or inputs.ndim != image.ndim + 1:
            raise ConfigError("The config's test pipeline must give one image (c, h, w); this one gives several, or none.")
        return inputs.contiguous().to(torch.float32)


class PicturePipeline:
    """Preprocessing of pictures for a network of mmpretrain, as its inferencer does.

    Raises:
        ConfigError: if the pipeline cannot be built, or begins with no file and the size of its pictures is unknown.
    """

    def __init__(self, config: Config, model: nn.Module) -> None:
        dataset = find_test_dataset(config) or {}
        name, loads = _name(dataset.get("type")), _loads_file(config)
        self._array_size = None if loads else _SIZES_OF_ARRAY_DATASETS.get(name)
        if not loads and self._array_size is None:
            raise ConfigError(
                "The config's test pipeline does not begin with LoadImageFromFile, and the image size of its data set "
                f"'{name}' is unknown; expected LoadImageFromFile, or one of {', '.join(_SIZES_OF_ARRAY_DATASETS)}."
            )
        self._pipeline = PipelineSteps(config, model)
        mean = getattr(self._pipeline.data_preprocessor, "mean", None)
        self._grey = self._pipeline.loads_grey or (isinstance(mean, Tensor) and mean.numel() == 1)

    def __call__(self, picture: Picture) -> Tensor:
        """Return the network's input (1, c, h, w) float32 for an image uint8 (h, w, 3) in RGB."""
        image = picture
        if self._array_size is not None:
            image = cv2.resize(image, (self._array_size, self._array_size), interpolation=cv2.INTER_AREA)
        if self._grey:
            image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
        elif self._array_size is None:
            image = np.ascontiguousarray(image[..., ::-1])  # as mmcv loads files: BGR
        return self._pipeline(image)


class VolumePipeline(VolumePreprocess):
    """Preprocessing of volumes for a network of mmpretrain: first what a description says, then the config's test pipeline.

    Args:
        spec: the description; maps go back on the scan by it.

    Raises:
        ConfigError: if the description or the pipeline is invalid.
    """

    def __init__(self, spec: Any, config: Config, model: nn.Module) -> None:
        super().__init__(spec)
        self._pipeline = PipelineSteps(config, model)

    def __call__(self, volume: Volume) -> Tensor:
        """Return the network's input (1, c, *spatial); ConfigError if the pipeline changes its size, ImageError as of the description."""
        return _same_size(self._pipeline, super().__call__(volume))


class SignalPipeline(SignalPreprocess):
    """Preprocessing of signals for a network of mmpretrain, as `VolumePipeline`."""

    def __init__(self, spec: Any, config: Config, model: nn.Module) -> None:
        super().__init__(spec)
        self._pipeline = PipelineSteps(config, model)

    def __call__(self, signal: Signal) -> Tensor:
        """Return the network's input (1, c, *spatial); ConfigError if the pipeline changes its size, ImageError as of the description."""
        return _same_size(self._pipeline, super().__call__(signal))


def _same_size(pipeline: PipelineSteps, described: Tensor) -> Tensor:
    inputs = pipeline(described[0].movedim(0, -1).numpy())
    if inputs.shape[2:] != described.shape[2:]:
        raise ConfigError(
            f"The config's test pipeline makes an input of {times(inputs.shape[2:])} of {times(described.shape[2:])}, so where maps lie is "
            "not known; expected that it changes values only. Sizes are changed by 'input.preprocess'."
        )
    return inputs


def _loads_file(config: Config) -> bool:
    """Return whether the test pipeline begins with the loading of a file."""
    steps = find_test_pipeline(config)
    return bool(steps) and _name(steps[0].get("type")) == "LoadImageFromFile"


def _name(config_type: Any) -> str:
    """Return the name of a `type`: a class in configs that import what they use, else its name, perhaps with a scope."""
    return config_type.__name__ if isinstance(config_type, type) else str(config_type).rpartition(".")[2]


def _built(steps: list[dict[str, Any]]) -> list[Any]:
    import mmpretrain.datasets  # noqa: F401 - registers the transforms
    from mmpretrain.registry import TRANSFORMS

    pipeline = []
    for step in steps:
        name = str(step.get("type"))
        if isinstance(step.get("type"), str) and TRANSFORMS.get(name) is None:
            raise ConfigError(f"Unknown transform '{name}' in the test pipeline{closest(name, known_types(TRANSFORMS))}.")
        try:
            with DefaultScope.overwrite_default_scope("mmpretrain"):
                pipeline.append(TRANSFORMS.build(copy.deepcopy(step)))
        except Exception as error:
            raise ConfigError(f"Transform '{name}' of the test pipeline cannot be built: {' '.join(str(error).split())[:300]}") from error
    return pipeline
