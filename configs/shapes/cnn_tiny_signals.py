"""Three convolutions and a linear layer on synthetic signals: kernels (9, 1) over pictures one pixel wide."""

_base_ = "../resnet_cam/resnet18_cam_shapes.py"

input = dict(kind="signal", preprocess=dict(shape="ct1"))  # noqa: A001 - of two axes, the second of length 1
data_preprocessor = dict(num_classes=5)
model = dict(
    _delete_=True,
    type="ImageClassifier",
    backbone=dict(type="camtool.ConvNet", channels=(16, 32, 64), strides=((2, 1), (2, 1), (2, 1)), kernel_size=(9, 1)),  # a map of 24
    neck=dict(type="GlobalAveragePooling"),
    head=dict(type="LinearClsHead", num_classes=5, in_channels=64),
)

named = dict(rank=1, size=192, metainfo=dict(classes=["box", "double", "nothing", "ramp", "tent"]))
load = dict(type="camtool.LoadImageFromFile")  # which leaves what is in memory as it is
train_pipeline = [
    load,
    dict(type="RandomFlip", prob=0.5, direction="vertical"),  # time is the picture's height
    dict(type="PackInputs"),
]
test_pipeline = [load, dict(type="PackInputs")]
train_dataloader = dict(batch_size=50, dataset=dict(count=6000, pipeline=train_pipeline, **named))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline, **named))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=10)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, end=100, by_epoch=False),
    dict(type="CosineAnnealingLR", T_max=10, end=10, by_epoch=True, convert_to_iter_based=True),
]
work_dir = "outputs/train/cnn_tiny_signals"
