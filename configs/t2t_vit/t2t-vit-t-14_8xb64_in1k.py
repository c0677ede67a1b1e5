"""T2T-ViT-14 on ImageNet-1k, weights: t2t-vit-t-14_8xb64_in1k."""

_base_ = "mmpretrain::t2t_vit/t2t-vit-t-14_8xb64_in1k.py"

load_from = "https://download.openmmlab.com/mmclassification/v0/t2t-vit/t2t-vit-t-14_8xb64_in1k_20211220-f7378dd5.pth"
