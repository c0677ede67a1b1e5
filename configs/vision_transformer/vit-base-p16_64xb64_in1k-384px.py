"""ViT-B/16 at 384 pixels on ImageNet-1k, weights: vit-base-p16_in21k-pre_3rdparty_in1k-384px."""

_base_ = "mmpretrain::vision_transformer/vit-base-p16_64xb64_in1k-384px.py"

load_from = (
    "https://download.openmmlab.com/mmclassification/v0/vit/finetune/"
    "vit-base-p16_in21k-pre-3rdparty_ft-64xb64_in1k-384_20210928-98e8652b.pth"
)
