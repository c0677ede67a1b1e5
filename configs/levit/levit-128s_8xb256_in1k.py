"""LeViT-128S on ImageNet-1k, weights: levit-128s_3rdparty_in1k."""

_base_ = "mmpretrain::levit/levit-128s_8xb256_in1k.py"

load_from = "https://download.openmmlab.com/mmclassification/v0/levit/levit-128s_3rdparty_in1k_20230117-e9fbd209.pth"
