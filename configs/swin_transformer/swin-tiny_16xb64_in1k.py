"""Swin-T on ImageNet-1k, weights: swin-tiny_16xb64_in1k."""

_base_ = "mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py"

load_from = (
    "https://download.openmmlab.com/mmclassification/v0/swin-transformer/swin_tiny_224_b16x64_300e_imagenet_20210616_090925-66df6be6.pth"
)
