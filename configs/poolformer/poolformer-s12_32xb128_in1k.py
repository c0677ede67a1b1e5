"""PoolFormer-S12 on ImageNet-1k, weights: poolformer-s12_3rdparty_32xb128_in1k."""

_base_ = "mmpretrain::poolformer/poolformer-s12_32xb128_in1k.py"

load_from = "https://download.openmmlab.com/mmclassification/v0/poolformer/poolformer-s12_3rdparty_32xb128_in1k_20220414-f8d83051.pth"
