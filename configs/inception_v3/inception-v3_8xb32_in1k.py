"""Inception v3 on ImageNet-1k, weights: inception-v3_3rdparty_8xb32_in1k."""

_base_ = "mmpretrain::inception_v3/inception-v3_8xb32_in1k.py"

load_from = "https://download.openmmlab.com/mmclassification/v0/inception-v3/inception-v3_3rdparty_8xb32_in1k_20220615-dcd4d910.pth"
