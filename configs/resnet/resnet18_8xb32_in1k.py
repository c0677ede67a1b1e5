"""ResNet-18 on ImageNet-1k, weights: resnet18_8xb32_in1k."""

_base_ = "mmpretrain::resnet/resnet18_8xb32_in1k.py"

load_from = "https://download.openmmlab.com/mmclassification/v0/resnet/resnet18_8xb32_in1k_20210831-fbbb1da6.pth"
