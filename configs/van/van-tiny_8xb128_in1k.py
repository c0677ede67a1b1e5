"""VAN-T on ImageNet-1k, weights: van-tiny_3rdparty_in1k."""

_base_ = "mmpretrain::van/van-tiny_8xb128_in1k.py"

load_from = "https://download.openmmlab.com/mmclassification/v0/van/van-tiny_8xb128_in1k_20220501-385941af.pth"
