"""ConvStem: the convolution of a patch embedding as a sequence of small ones."""

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from camtool.errors import ConfigError
from camtool.registry import MODELS


@MODELS.register_module()
class ConvStem(nn.Module):
    """Convolutional stem of a vision transformer, in place of its one convolution over whole patches (Xiao et al. 2021, arXiv:2106.14881).

    A patch embedding names it by its type, `patch_cfg=dict(conv_type="camtool.ConvStem")`, and gives it its convolution's arguments.
    Convolutions 3x3 of stride 2, with batch normalisation and ReLU, double the channels up to `out_channels`; one of stride 1 and one of
    1x1 follow: as many tokens as with the one convolution.

    Args:
        kernel_size: side of a patch, (8, 8); the strides decide alone.
        stride: a power of 2, the same along both axes.
        arguments: of the convolution that it replaces; those of its bias and dilation are left out.

    Raises:
        ConfigError: if the stride is no power of 2.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: tuple[int, int], stride: tuple[int, int], **arguments: Any
    ) -> None:
        halvings = stride[0].bit_length() - 1
        if len({*stride}) != 1 or stride[0] != 2**halvings or not halvings:
            raise ConfigError(f"ConvStem expects a stride of 2, 4, 8, …, the same along both axes, got {tuple(stride)}.")
        super().__init__()
        channels = [in_channels, *(max(out_channels >> left, 1) for left in reversed(range(halvings))), out_channels]
        self.layers = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(inputs, outputs, 3, step, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())
                for inputs, outputs, step in zip(channels, channels[1:], [*[2] * halvings, 1], strict=False)
            )
        )
        self.projection = nn.Conv2d(out_channels, out_channels, 1)

    def forward(self, inputs: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k rows columns"]:
        """Return the tokens on their grid."""
        tokens: Tensor = self.projection(self.layers(inputs))
        return tokens
