"""Four convolutions in 3-D and a linear layer on synthetic volumes of one channel, whose shapes have a radius of 4.5 to 5 voxels of 32."""

_base_ = "../resnet_cam/resnet18_cam_shapes.py"

data_preprocessor = dict(num_classes=4, mean=[127.5], std=[51.0])  # one number each, for inputs of any rank
model = dict(
    _delete_=True,
    type="ImageClassifier",
    backbone=dict(type="camtool.ConvNet", in_channels=1, channels=(16, 32, 64, 64), strides=(2, 2, 1, 1), rank=3),  # a map of 8x8x8
    neck=dict(type="GlobalAveragePooling", dim=3),
    head=dict(type="LinearClsHead", num_classes=4, in_channels=64),
)

kinds = ["ball", "cross", "shell", "bar", "pair"]  # of a few voxels, the others are told from a ball by their corners or a dent
named = dict(rank=3, size=32, channels=1, kinds=kinds, metainfo=dict(classes=["ball", "cross", "nothing", "shell"]))
load = dict(type="camtool.LoadImageFromFile")  # which leaves what is in memory as it is
pack = [dict(type="camtool.ChannelsFirst", rank=3), dict(type="PackInputs")]
train_pipeline = [
    load,
    dict(type="RandomFlip", prob=[0.25, 0.25, 0.25], direction=["horizontal", "vertical", "diagonal"]),  # of the first two axes
    *pack,
]
test_pipeline = [load, *pack]
train_dataloader = dict(dataset=dict(count=6000, pipeline=train_pipeline, **named))
val_dataloader = dict(dataset=dict(count=300, pipeline=test_pipeline, **named))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=7)
optim_wrapper = dict(optimizer=dict(lr=3e-3))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, end=100, by_epoch=False),
    dict(type="CosineAnnealingLR", T_max=7, end=7, by_epoch=True, convert_to_iter_based=True),
]
work_dir = "outputs/train/cnn_tiny_volumes"
