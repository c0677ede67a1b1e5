"""ResNet-50 on ImageNet-1k, weights: resnet50_8xb32_in1k."""

_base_ = "mmpretrain::resnet/resnet50_8xb32_in1k.py"

load_from = "https://download.openmmlab.com/mmclassification/v0/resnet/resnet50_8xb32_in1k_20210831-ea4938fc.pth"
