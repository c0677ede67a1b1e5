"""Swin V2-T at 256 pixels on ImageNet-1k, weights: swinv2-tiny-w8_3rdparty_in1k-256px."""

_base_ = "mmpretrain::swin_transformer_v2/swinv2-tiny-w8_16xb64_in1k-256px.py"

load_from = "https://download.openmmlab.com/mmclassification/v0/swin-v2/swinv2-tiny-w8_3rdparty_in1k-256px_20220803-e318968f.pth"
