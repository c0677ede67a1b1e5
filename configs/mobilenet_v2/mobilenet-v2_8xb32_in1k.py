"""MobileNetV2 on ImageNet-1k, weights: mobilenet-v2_8xb32_in1k."""

_base_ = "mmpretrain::mobilenet_v2/mobilenet-v2_8xb32_in1k.py"

load_from = "https://download.openmmlab.com/mmclassification/v0/mobilenet_v2/mobilenet_v2_batch256_imagenet_20200708-3b2dc3af.pth"
