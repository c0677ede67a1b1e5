"""EfficientNet-B0 on ImageNet-1k, weights: efficientnet-b0_3rdparty_8xb32_in1k."""

_base_ = "mmpretrain::efficientnet/efficientnet-b0_8xb32_in1k.py"

load_from = "https://download.openmmlab.com/mmclassification/v0/efficientnet/efficientnet-b0_3rdparty_8xb32_in1k_20220119-a7e2a0b1.pth"
