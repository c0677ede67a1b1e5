"""Narrow ResNet-18 on synthetic shapes; trains in minutes on two CPU cores. Data: camtool/datasets/synthetic/scenes.py."""

default_scope = "mmpretrain"

data_preprocessor = dict(num_classes=6, mean=[127.5, 127.5, 127.5], std=[51.0, 51.0, 51.0], to_rgb=True)
model = dict(type="camtool.ResNetCAM", depth=18, num_classes=6, base_channels=8, stem="small", strides=(2, 2, 2, 1))  # a map of 8x8

load = dict(type="camtool.LoadImageFromFile")  # images of the data set are in memory, those on the command line are files
train_pipeline = [
    load,
    dict(type="RandomFlip", prob=[0.25, 0.25, 0.25], direction=["horizontal", "vertical", "diagonal"]),
    dict(type="PackInputs"),
]
test_pipeline = [load, dict(type="Resize", scale=(64, 64)), dict(type="PackInputs")]
train_dataloader = dict(
    batch_size=32,
    num_workers=0,  # a scene takes a millisecond, and is cached
    dataset=dict(type="camtool.Shapes", split="train", count=10000, fewest=0, answers=False, pipeline=train_pipeline),
    sampler=dict(type="DefaultSampler", shuffle=True),
    collate_fn=dict(type="default_collate"),
)
val_dataloader = dict(
    batch_size=100,
    num_workers=0,
    dataset=dict(type="camtool.Shapes", split="val", count=600, pipeline=test_pipeline),
    sampler=dict(type="DefaultSampler", shuffle=False),
    collate_fn=dict(type="default_collate"),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="Accuracy", topk=(1,))
test_evaluator = val_evaluator

train_cfg = dict(by_epoch=True, max_epochs=5, val_interval=1)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(optimizer=dict(type="Adam", lr=6e-3, weight_decay=1e-4, fused=True))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, end=100, by_epoch=False),
    dict(type="CosineAnnealingLR", T_max=5, end=5, by_epoch=True, convert_to_iter_based=True),
]

default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=50),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(type="camtool.CheckpointHook", interval=1, max_keep_ckpts=2),
    sampler_seed=dict(type="DistSamplerSeedHook"),
)
custom_hooks = [dict(type="camtool.EarlyStoppingHook", monitor="accuracy/top1", patience=5)]
randomness = dict(seed=0)
work_dir = "outputs/train/resnet18_cam_shapes"
