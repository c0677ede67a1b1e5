"""ConvNeXt V2-A on ImageNet-1k, weights: convnext-v2-atto_3rdparty-fcmae_in1k."""

_base_ = "mmpretrain::convnext_v2/convnext-v2-atto_32xb32_in1k.py"

load_from = "https://download.openmmlab.com/mmclassification/v0/convnext-v2/convnext-v2-atto_3rdparty-fcmae_in1k_20230104-07514db4.pth"
