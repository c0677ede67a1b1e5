"""camtool's own backbones, named in configs with their scope: `type="camtool.ConvNet"`. Only the registry imports them."""

from camtool.models.backbones.conv_net import ConvNet as ConvNet
from camtool.models.backbones.conv_stem import ConvStem as ConvStem
