"""Four convolutions and a linear layer on synthetic shapes."""

_base_ = "../resnet_cam/resnet18_cam_shapes.py"

model = dict(
    _delete_=True,
    type="ImageClassifier",
    backbone=dict(type="camtool.ConvNet", channels=(16, 32, 64, 128), strides=(2, 2, 2, 1)),  # a map of 8x8
    neck=dict(type="GlobalAveragePooling"),
    head=dict(type="LinearClsHead", num_classes=6, in_channels=128),
)
train_cfg = dict(max_epochs=10)
optim_wrapper = dict(optimizer=dict(lr=3e-3))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, end=100, by_epoch=False),
    dict(type="CosineAnnealingLR", T_max=10, end=10, by_epoch=True, convert_to_iter_based=True),
]
work_dir = "outputs/train/cnn_tiny_shapes"
