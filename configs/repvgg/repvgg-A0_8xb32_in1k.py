"""RepVGG-A0 on ImageNet-1k, weights: repvgg-A0_8xb32_in1k."""

_base_ = "mmpretrain::repvgg/repvgg-A0_8xb32_in1k.py"

load_from = "https://download.openmmlab.com/mmclassification/v0/repvgg/repvgg-A0_8xb32_in1k_20221213-60ae8e23.pth"
