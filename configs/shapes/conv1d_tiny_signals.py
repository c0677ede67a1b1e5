"""The network of cnn_tiny_signals.py in `Conv1d`: kernels of 9 over signals of three channels."""

_base_ = "cnn_tiny_signals.py"

input = dict(preprocess=dict(shape="ct"))  # noqa: A001
data_preprocessor = dict(mean=[127.5], std=[51.0])  # one number each, for inputs of any rank
model = dict(backbone=dict(strides=(2, 2, 2), kernel_size=9, rank=1), neck=dict(dim=1))

load = dict(type="camtool.LoadImageFromFile")
pack = [dict(type="camtool.ChannelsFirst", rank=1), dict(type="PackInputs")]
train_pipeline = [load, dict(type="RandomFlip", prob=0.5, direction="vertical"), *pack]  # time is the first axis
test_pipeline = [load, *pack]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
work_dir = "outputs/train/conv1d_tiny_signals"
