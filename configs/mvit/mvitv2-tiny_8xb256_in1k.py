"""MViTv2-T on ImageNet-1k, weights: mvitv2-tiny_3rdparty_in1k."""

_base_ = "mmpretrain::mvit/mvitv2-tiny_8xb256_in1k.py"

load_from = "https://download.openmmlab.com/mmclassification/v0/mvit/mvitv2-tiny_3rdparty_in1k_20220722-db7beeef.pth"
