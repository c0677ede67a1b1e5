"""MobileViT-XXS on ImageNet-1k, weights: mobilevit-xxsmall_3rdparty_in1k."""

_base_ = "mmpretrain::mobilevit/mobilevit-xxsmall_8xb128_in1k.py"

load_from = "https://download.openmmlab.com/mmclassification/v0/mobilevit/mobilevit-xxsmall_3rdparty_in1k_20221018-77835605.pth"
