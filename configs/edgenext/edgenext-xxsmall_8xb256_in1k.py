"""EdgeNeXt-XXS on ImageNet-1k, weights: edgenext-xxsmall_3rdparty_in1k."""

_base_ = "mmpretrain::edgenext/edgenext-xxsmall_8xb256_in1k.py"

load_from = "https://download.openmmlab.com/mmclassification/v0/edgenext/edgenext-xxsmall_3rdparty_in1k_20220801-7ca8a81d.pth"
