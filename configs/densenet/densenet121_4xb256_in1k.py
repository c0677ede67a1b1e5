"""DenseNet-121 on ImageNet-1k, weights: densenet121_3rdparty_in1k."""

_base_ = "mmpretrain::densenet/densenet121_4xb256_in1k.py"

load_from = "https://download.openmmlab.com/mmclassification/v0/densenet/densenet121_4xb256_in1k_20220426-07450f99.pth"
