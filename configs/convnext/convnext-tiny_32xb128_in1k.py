"""ConvNeXt-T on ImageNet-1k, weights: convnext-tiny_32xb128_in1k."""

_base_ = "mmpretrain::convnext/convnext-tiny_32xb128_in1k.py"

load_from = "https://download.openmmlab.com/mmclassification/v0/convnext/convnext-tiny_32xb128_in1k_20221207-998cf3e9.pth"
