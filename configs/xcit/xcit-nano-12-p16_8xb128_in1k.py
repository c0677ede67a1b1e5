"""XCiT-N12/16 on ImageNet-1k, weights: xcit-nano-12-p16_3rdparty_in1k."""

_base_ = "mmpretrain::xcit/xcit-nano-12-p16_8xb128_in1k.py"

load_from = "https://download.openmmlab.com/mmclassification/v0/xcit/xcit-nano-12-p16_3rdparty_in1k_20230213-ed776c38.pth"
