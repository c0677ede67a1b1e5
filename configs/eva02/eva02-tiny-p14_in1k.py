"""EVA-02-Ti/14 at 336 pixels on ImageNet-1k, weights: vit-tiny-p14_eva02-in21k-pre_3rdparty_in1k-336px."""

_base_ = "mmpretrain::eva02/eva02-tiny-p14_in1k.py"

load_from = "https://download.openmmlab.com/mmpretrain/v1.0/eva02/eva02-tiny-p14_in21k-pre_3rdparty_in1k-336px_20230505-a4e8708a.pth"
