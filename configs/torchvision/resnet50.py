"""ResNet-50 of torchvision with its first weights; `torchvision/resnet50` on the command line has the default, newer ones."""

model = dict(type="camtool.TorchvisionModel", name="resnet50", weights="IMAGENET1K_V1")
