"""A ResNet-50 of torchvision with the first published weights; `torchvision/resnet50` takes the best."""

model = dict(type="camtool.TorchvisionModel", name="resnet50", weights="IMAGENET1K_V1")
