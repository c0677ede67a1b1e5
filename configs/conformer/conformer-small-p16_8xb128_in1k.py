"""Conformer-S/16, with a convolutional and a transformer branch, on ImageNet-1k, weights: conformer-small-p16_3rdparty_in1k."""

_base_ = "mmpretrain::conformer/conformer-small-p16_8xb128_in1k.py"

load_from = "https://download.openmmlab.com/mmclassification/v0/conformer/conformer-small-p16_3rdparty_8xb128_in1k_20211206-3065dcf5.pth"
