"""TinyViT-5M on ImageNet-1k, weights: tinyvit-5m_3rdparty_in1k."""

_base_ = "mmpretrain::tinyvit/tinyvit-5m_8xb256_in1k.py"

load_from = "https://download.openmmlab.com/mmclassification/v0/tinyvit/tinyvit-5m_3rdparty_in1k_20221021-62cb5abf.pth"
