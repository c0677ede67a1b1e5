"""Distilled DeiT-T/16, with a class and a distillation token, on ImageNet-1k, weights: deit-tiny-distilled_3rdparty_in1k."""

_base_ = "mmpretrain::deit/deit-tiny-distilled_4xb256_in1k.py"

load_from = "https://download.openmmlab.com/mmclassification/v0/deit/deit-tiny-distilled_3rdparty_pt-4xb256_in1k_20211216-c429839a.pth"
