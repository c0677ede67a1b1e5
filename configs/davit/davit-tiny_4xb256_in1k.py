"""DaViT-T on ImageNet-1k, weights: davit-tiny_3rdparty_in1k."""

_base_ = "mmpretrain::davit/davit-tiny_4xb256_in1k.py"

load_from = "https://download.openmmlab.com/mmclassification/v0/davit/davit-tiny_3rdparty_in1k_20221116-700fdf7d.pth"
