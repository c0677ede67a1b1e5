"""Four convolutions and a linear layer on synthetic shapes."""

_base_ = "../resnet_cam/resnet18_cam_shapes.py"

model = dict(
    _delete_=True,
    type="ImageClassifier",
    backbone=dict(type="camtool.ConvNet", channels=(16, 32, 64, 128), strides=(2, 2, 2, 1)),  # a map of 8x8
    neck=dict(type="GlobalAveragePooling"),
    head=dict(type="LinearClsHead", num_classes=6, in_channels=128),
)
work_dir = "work_dirs/cnn_tiny_shapes"
