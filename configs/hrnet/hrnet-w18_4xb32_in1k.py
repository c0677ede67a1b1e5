"""HRNet-W18 on ImageNet-1k, weights: hrnet-w18_3rdparty_8xb32_in1k."""

_base_ = "mmpretrain::hrnet/hrnet-w18_4xb32_in1k.py"

load_from = "https://download.openmmlab.com/mmclassification/v0/hrnet/hrnet-w18_3rdparty_8xb32_in1k_20220120-0c10b180.pth"
