"""BEiT-B/16 on ImageNet-1k, weights: beit-base-p16_beit-pre_8xb128-coslr-100e_in1k."""

_base_ = "mmpretrain::beit/benchmarks/beit-base-p16_8xb128-coslr-100e_in1k.py"

load_from = (
    "https://download.openmmlab.com/mmselfsup/1.x/beit/beit_vit-base-p16_8xb256-amp-coslr-300e_in1k/"
    "vit-base-p16_ft-8xb128-coslr-100e_in1k/vit-base-p16_ft-8xb128-coslr-100e_in1k_20221128-0ca393e9.pth"
)
