"""MobileNetV3-Large on ImageNet-1k, weights: mobilenet-v3-large_8xb128_in1k."""

_base_ = "mmpretrain::mobilenet_v3/mobilenet-v3-large_8xb128_in1k.py"

load_from = "https://download.openmmlab.com/mmclassification/v0/mobilenet_v3/mobilenet-v3-large_8xb128_in1k_20221114-0ed9ed9a.pth"
