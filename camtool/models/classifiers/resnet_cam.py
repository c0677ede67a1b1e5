"""ResNetCAM: the network that CAM is defined for; Zhou et al. 2016, arXiv:1512.04150."""

from collections.abc import Sequence
from typing import Any

from mmpretrain.models.backbones.resnet import ResNet, get_expansion
from mmpretrain.models.classifiers import ImageClassifier

from camtool.errors import ConfigError, closest
from camtool.registry import MODELS

STEMS = {"imagenet": "ResNet", "small": "ResNet_CIFAR"}
"""7x7 of stride 2 with pooling: the map is 4 times coarser than `strides` say; or 3x3 without, for small pictures."""


@MODELS.register_module()
class ResNetCAM(ImageClassifier):  # type: ignore[misc]  # mmpretrain has no types
    """ResNet, global average pooling, one linear layer: a classifier of mmpretrain whose class activation map is exact.

    Args:
        depth: 18, 34, 50, 101 or 152.
        base_channels: of the stem and the first stage; ResNet has 64.
        stem: "imagenet" or "small".
        strides: of the four stages. ResNet's own, (1, 2, 2, 2), leave a map of 7x7 at 224 pixels; (1, 2, 2, 1) of 14x14.
        keywords: those of mmpretrain's ImageClassifier: `data_preprocessor`, `pretrained`, `train_cfg`, `init_cfg`.

    Raises:
        ConfigError: if there is no such ResNet.
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
            raise ConfigError(f"ResNetCAM has four stages, got strides={tuple(strides)}.")
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
