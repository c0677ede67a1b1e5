"""Twins-PCPVT-S on ImageNet-1k, weights: twins-pcpvt-small_3rdparty_8xb128_in1k."""

_base_ = "mmpretrain::twins/twins-pcpvt-small_8xb128_in1k.py"

load_from = "https://download.openmmlab.com/mmclassification/v0/twins/twins-pcpvt-small_3rdparty_8xb128_in1k_20220126-ef23c132.pth"
