"""DeiT III-S/16 on ImageNet-1k, weights: deit3-small-p16_3rdparty_in1k."""

_base_ = "mmpretrain::deit3/deit3-small-p16_64xb64_in1k.py"

load_from = "https://download.openmmlab.com/mmclassification/v0/deit3/deit3-small-p16_3rdparty_in1k_20221008-0f7c70cf.pth"
