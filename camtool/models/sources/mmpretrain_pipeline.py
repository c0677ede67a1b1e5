"""Pipeline: preprocessing by the config's test pipeline, as mmpretrain's inferencer does."""

import copy
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from camtool.config.loading import find_test_dataset, find_test_pipeline
from camtool.errors import ConfigError, closest
from camtool.io.images import Picture
from camtool.registry import known_types

# Pipelines for these data sets do not load or resize: the data set gives RGB arrays of a fixed size.
_SIZES_OF_ARRAY_DATASETS = {"CIFAR10": 32, "CIFAR100": 32, "MNIST": 28, "FashionMNIST": 28}


class Pipeline:
    """Preprocessing of a network of mmpretrain: from an image to the input (1, c, h, w).

    Raises:
        ConfigError: if the config has no test pipeline, or a transform is unknown or cannot be built.
    """

    def __init__(self, config: Config, model: nn.Module) -> None:
        steps = find_test_pipeline(config)
        self._loads = bool(steps) and _name(steps[0].get("type")) == "LoadImageFromFile"
        self._grey = self._loads and steps[0].get("color_type") in ("grayscale", "unchanged_gray")
        dataset = find_test_dataset(config) or {}
        self._array_size = None if self._loads else _SIZES_OF_ARRAY_DATASETS.get(_name(dataset.get("type")))
        if not self._loads and self._array_size is None:
            raise ConfigError(
                "The config's test pipeline does not begin with LoadImageFromFile, and the image size of its data set "
                f"'{_name(dataset.get('type'))}' is unknown; expected LoadImageFromFile, or one of {', '.join(_SIZES_OF_ARRAY_DATASETS)}."
            )
        self._to_model: Any = model.data_preprocessor
        mean = getattr(self._to_model, "mean", None)
        self._grey = self._grey or (isinstance(mean, Tensor) and mean.numel() == 1)
        self._pipeline = _build_pipeline(steps[1:] if self._loads else steps)

    def __call__(self, picture: Picture) -> Tensor:
        """Return the network's input (1, c, h, w) float32 for an image uint8 (h, w, 3) in RGB."""
        image = picture
        if self._array_size is not None:
            image = cv2.resize(image, (self._array_size, self._array_size), interpolation=cv2.INTER_AREA)
        if self._grey:
            image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
        elif self._array_size is None:
            image = np.ascontiguousarray(image[..., ::-1])  # as mmcv loads files: BGR
        size = image.shape[:2]
        results: dict[str, Any] = {"img": image, "img_shape": size, "ori_shape": size, "img_path": ""}
        try:
            for step in self._pipeline:
                results = step(results)
                if results is None:
                    raise ConfigError(f"The test pipeline's {type(step).__name__} rejects this image of {size[1]}x{size[0]}.")
            batch = {"inputs": [results["inputs"]], "data_samples": [results["data_samples"]]}
            inputs = self._to_model(batch, False)["inputs"]
        except ConfigError:
            raise
        except Exception as error:
            raise ConfigError(f"The config's test pipeline fails on this image: {type(error).__name__}: {error}.") from error
        if not isinstance(inputs, Tensor) or inputs.ndim != 4:
            raise ConfigError("The config's test pipeline must give one image (c, h, w); this one gives several, or none.")
        return inputs.contiguous().to(torch.float32)


def _name(config_type: Any) -> str:
    # A class in configs that import what they use, else its name, perhaps with a scope.
    return config_type.__name__ if isinstance(config_type, type) else str(config_type).rpartition(".")[2]


def _build_pipeline(steps: list[dict[str, Any]]) -> list[Any]:
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
