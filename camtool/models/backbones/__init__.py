"""camtool's own backbones, which a config names by scope: `type="camtool.ConvNet"`. Imported by the registry only."""

from camtool.models.backbones.conv_net import ConvNet as ConvNet
