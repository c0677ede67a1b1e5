"""camtool's own networks, which a config names by scope: `type="camtool.ResNetCAM"`. Imported by the registry only."""

from camtool.models.networks.conv_net import ConvNet as ConvNet
from camtool.models.networks.resnet_cam import ResNetCAM as ResNetCAM
