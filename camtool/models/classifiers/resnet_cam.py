"""ResNetCAM: ResNet with a linear head on pooled features, as CAM requires; Zhou et al. 2016, arXiv:1512.04150."""

from collections.abc import Sequence
from typing import Any

from mmpretrain.models.backbones.resnet import ResNet, get_expansion
from mmpretrain.models.classifiers import ImageClassifier

from camtool.errors import ConfigError, closest
from camtool.registry import MODELS

STEMS = {"imagenet": "ResNet", "small": "ResNet_CIFAR"}
"""Stem by name: "imagenet" is a 7x7 convolution of stride 2 with max pooling (4 times coarser); "small" a 3x3 one of stride 1."""


@MODELS.register_module()
class ResNetCAM(ImageClassifier):  # type: ignore[misc]  # mmpretrain has no types
    """ResNet with global average pooling and one linear layer, for which CAM is exact; a classifier of mmpretrain.

    Args:
        depth: 18, 34, 50, 101 or 152.
        base_channels: channels of the stem and the first stage; 64 in ResNet.
        stem: "imagenet" or "small".
        strides: of the four stages. (1, 2, 2, 2), as in ResNet, gives a 7x7 map at 224 pixels; (1, 2, 2, 1) gives 14x14.
        keywords: arguments of mmpretrain's ImageClassifier: `data_preprocessor`, `pretrained`, `train_cfg`, `init_cfg`.

    Raises:
        ConfigError: if `stem`, `depth` or the number of `strides` is not one of these.
    """

    def __init__(
        self,
        *,
        depth: int = 18,
        num_classes: int = 10,
        in_channels: int = 3,
        base_channels: int = 64,
        stem: str = "imagenet",
        strides: Sequence[int] = (1, 2, 2, 2),
        **keywords: Any,
    ) -> None:
        if stem not in STEMS:
            raise ConfigError(f"ResNetCAM has no stem '{stem}'{closest(stem, STEMS)}; expected {' or '.join(STEMS)}.")
        if depth not in ResNet.arch_settings:
            raise ConfigError(f"ResNetCAM has no depth {depth}; expected one of {', '.join(map(str, ResNet.arch_settings))}.")
        if len(strides) != 4:
            raise ConfigError(f"ResNetCAM has four stages: expected four strides, got strides={tuple(strides)}.")
        backbone = {
            "type": f"mmpretrain.{STEMS[stem]}",
            "depth": depth,
            "in_channels": in_channels,
            "stem_channels": base_channels,
            "base_channels": base_channels,
            "strides": tuple(strides),
        }
        block, _ = ResNet.arch_settings[depth]
        widest = base_channels * 2**3 * get_expansion(block)
        head = {"type": "mmpretrain.LinearClsHead", "num_classes": num_classes, "in_channels": widest}
        super().__init__(backbone, {"type": "mmpretrain.GlobalAveragePooling"}, head, **keywords)
