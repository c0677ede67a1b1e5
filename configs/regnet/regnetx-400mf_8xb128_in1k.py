"""RegNetX-400MF on ImageNet-1k, weights: regnetx-400mf_8xb128_in1k."""

_base_ = "mmpretrain::regnet/regnetx-400mf_8xb128_in1k.py"

load_from = "https://download.openmmlab.com/mmclassification/v0/regnet/regnetx-400mf_8xb128_in1k_20211213-89bfc226.pth"
