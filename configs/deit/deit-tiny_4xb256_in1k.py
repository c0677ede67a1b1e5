"""DeiT-T/16 on ImageNet-1k, weights: deit-tiny_4xb256_in1k."""

_base_ = "mmpretrain::deit/deit-tiny_4xb256_in1k.py"

load_from = "https://download.openmmlab.com/mmclassification/v0/deit/deit-tiny_pt-4xb256_in1k_20220218-13b382a0.pth"
