"""ViT-B/16 at 224 pixels, pre-trained as a masked autoencoder on ImageNet-1k, weights: vit-base-p16_32xb128-mae_in1k."""

_base_ = "mmpretrain::vision_transformer/vit-base-p16_32xb128-mae_in1k.py"

load_from = "https://download.openmmlab.com/mmclassification/v0/vit/vit-base-p16_pt-32xb128-mae_in1k_20220623-4c544545.pth"
