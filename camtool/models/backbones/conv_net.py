"""ConvNet: a plain sequence of convolutions in one, two or three dimensions."""

from collections.abc import Sequence

from jaxtyping import Float
from mmcv.cnn import ConvModule
from mmpretrain.models.backbones.base_backbone import BaseBackbone
from torch import Tensor, nn

from camtool.errors import ConfigError
from camtool.registry import MODELS


@MODELS.register_module()
class ConvNet(BaseBackbone):  # type: ignore[misc]  # mmpretrain has no types
    """Sequence of blocks of convolution, batch normalisation and ReLU, one for each number in `channels`.

    Args:
        channels: output channels of each convolution.
        strides: stride of each convolution, one number or one for each axis.
        kernel_size: odd, one number or one for each axis: (9, 1) for signals as pictures one pixel wide. The padding keeps the size.
        rank: 1, 2 or 3 spatial dimensions.

    Raises:
        ConfigError: if `channels` and `strides` differ in number, the kernel is even, or either has another number of axes.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        channels: Sequence[int] = (16, 32, 64),
        strides: Sequence[int | Sequence[int]] = (2, 2, 2),
        kernel_size: int | Sequence[int] = 3,
        rank: int = 2,
    ) -> None:
        kernel, *steps = (tuple(one) if isinstance(one, Sequence) else (one,) * rank for one in (kernel_size, *strides))
        if len(channels) != len(steps) or any(side % 2 == 0 for side in kernel) or any(len(one) != rank for one in (kernel, *steps)):
            raise ConfigError(
                f"ConvNet expects as many strides as channels and an odd kernel size, of {rank} axes, got channels={tuple(channels)}, "
                f"strides={tuple(strides)}, kernel_size={kernel_size}."
            )
        super().__init__()
        convolution, normalisation = {"type": f"Conv{rank}d"}, {"type": f"BN{rank}d"}
        self.layers = nn.Sequential(
            *(
                ConvModule(
                    inputs, outputs, kernel, stride, tuple(side // 2 for side in kernel), conv_cfg=convolution, norm_cfg=normalisation
                )
                for inputs, outputs, stride in zip([in_channels, *channels[:-1]], channels, steps, strict=True)
            )
        )

    def forward(self, inputs: Float[Tensor, "n c *spatial"]) -> tuple[Float[Tensor, "n k *maps"]]:
        """Return the activations of the last block in a tuple, as mmpretrain's backbones do."""
        return (self.layers(inputs),)
