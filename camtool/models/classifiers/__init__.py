"""camtool's own classifiers, which a config names by scope: `type="camtool.ResNetCAM"`. Imported by the registry only."""

from camtool.models.classifiers.resnet_cam import ResNetCAM as ResNetCAM
