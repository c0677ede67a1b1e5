"""A trained network on volumes: the brain in a T1-weighted head, by the architecture of LinkNet3d with the weights of the package deepbet.

Used by `configs/deepbet/linknet3d_t1-head.py`. LinkNet is Chaurasia and Culurciello's, arXiv:1707.03718; the weights are those of deepbet
(MIT), Fisch et al., arXiv:2308.07003. Its archive holds compiled code beside them, which is not run: the layers are written here.
"""

from torch import Tensor, nn

MEAN, STD = 0.449, 0.226
"""What deepbet's normalisation makes of the mean and the standard deviation of a head."""


class LinkNet3d(nn.Module):
    """Logits (n, 2, x, y, z) of what is no brain and what is, for heads (n, 1, x, y, z) as z-scores; sides are multiples of 32.

    The published network ends in a softmax over the classes; these are the scores before it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.init = nn.Sequential(*_convolution(1, 16, 7, stride=2), nn.MaxPool3d(3, stride=2, padding=1))
        self.down0, self.down1 = _Down(16, 16, stride=1), _Down(16, 32, stride=2)
        self.down2, self.down3 = _Down(32, 64, stride=2), _Down(64, 128, stride=2)
        self.up0, self.up1 = _Up(128, 64, stride=2), _Up(64, 32, stride=2)
        self.up2, self.up3 = _Up(32, 16, stride=2), _Up(16, 16, stride=1)
        self.tp_conv1 = nn.Sequential(*_doubled(16, 8, bias=True))
        self.conv = nn.Sequential(nn.Conv3d(8, 8, 3, padding=1), nn.InstanceNorm3d(8), nn.ReLU())
        self.tp_conv2 = nn.ConvTranspose3d(8, 2, 2, stride=2)

    def forward(self, heads: Tensor) -> Tensor:
        start = self.init(heads * STD + MEAN)
        half = self.down0(start)
        quarter = self.down1(half)
        eighth = self.down2(quarter)
        decoded = self.up0(self.down3(eighth)) + eighth
        decoded = self.up1(decoded) + quarter
        decoded = self.up2(decoded) + half
        decoded = self.up3(decoded) + start
        return self.tp_conv2(self.conv(self.tp_conv1(decoded)))


class _Down(nn.Module):
    """Two residual blocks, the first of which may halve the sides."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.block1, self.block2 = _Block(inner, outer, stride), _Block(outer, outer, 1)

    def forward(self, values: Tensor) -> Tensor:
        return self.block2(self.block1(values))


class _Block(nn.Module):
    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        norm = nn.InstanceNorm3d(outer)
        self.double_conv = nn.Sequential(
            *_convolution(inner, outer, 3, stride=stride), nn.Conv3d(outer, outer, 3, padding=1, bias=False), norm
        )
        if inner != outer:
            self.downsample = nn.Sequential(nn.Conv3d(inner, outer, 1, stride=stride, bias=False), nn.InstanceNorm3d(outer))
        else:
            self.downsample = nn.Identity()
        self.act = nn.ReLU()

    def forward(self, values: Tensor) -> Tensor:
        return self.act(self.double_conv(values) + self.downsample(values))


class _Up(nn.Module):
    """A quarter of the channels, twice as large sides, and the channels asked for."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        narrow = inner // 4
        self.conv1 = nn.Sequential(*_convolution(inner, narrow, 1))
        self.tp_conv = nn.Sequential(*_doubled(narrow, narrow, stride=stride))
        self.conv2 = nn.Sequential(*_convolution(narrow, outer, 1))

    def forward(self, values: Tensor) -> Tensor:
        return self.conv2(self.tp_conv(self.conv1(values)))


def _convolution(inner: int, outer: int, kernel: int, stride: int = 1) -> tuple[nn.Module, ...]:
    padding = kernel // 2
    return nn.Conv3d(inner, outer, kernel, stride, padding, bias=False), nn.InstanceNorm3d(outer), nn.ReLU()


def _doubled(inner: int, outer: int, stride: int = 2, *, bias: bool = False) -> tuple[nn.Module, ...]:
    transposed = nn.ConvTranspose3d(inner, outer, 3, stride, padding=1, output_padding=stride - 1, bias=bias)
    return transposed, nn.InstanceNorm3d(outer), nn.ReLU()
