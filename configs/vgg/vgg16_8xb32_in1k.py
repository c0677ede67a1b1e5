"""VGG-16 on ImageNet-1k, weights: vgg16_8xb32_in1k."""

_base_ = "mmpretrain::vgg/vgg16_8xb32_in1k.py"

load_from = "https://download.openmmlab.com/mmclassification/v0/vgg/vgg16_batch256_imagenet_20210208-db26f1a5.pth"

cam = dict(
    # The last convolution (14x14 positions), as in the Grad-CAM paper. The derived default is the last pooling (7x7).
    target_layers=["backbone.features[-2]"],
)
