"""camtool's own classifiers, named in configs with their scope: `type="camtool.ResNetCAM"`. Only the registry imports them."""

from camtool.models.classifiers.resnet_cam import ResNetCAM as ResNetCAM
