"""ResNet-18 for class activation maps on Imagenette, 160 pixels; its maps are 10x10."""

default_scope = "mmpretrain"

image_size = 160
data_root = "data"

data_preprocessor = dict(num_classes=10, mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)  # ImageNet's
model = dict(type="camtool.ResNetCAM", depth=18, num_classes=10, strides=(1, 2, 2, 1))
# To start from ImageNet's weights, add to `model`: pretrained="https://download.openmmlab.com/mmclassification/v0/resnet/
# resnet18_8xb32_in1k_20210831-fbbb1da6.pth".

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="RandomResizedCrop", scale=image_size),
    dict(type="RandomFlip", prob=0.5, direction="horizontal"),
    dict(type="PackInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="ResizeEdge", scale=image_size, edge="short"),
    dict(type="CenterCrop", crop_size=image_size),
    dict(type="PackInputs"),
]
train_dataloader = dict(
    batch_size=64,
    num_workers=2,
    dataset=dict(type="camtool.Imagenette", data_root=data_root, split="train", pipeline=train_pipeline),
    sampler=dict(type="DefaultSampler", shuffle=True),
    collate_fn=dict(type="default_collate"),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=2,
    dataset=dict(type="camtool.Imagenette", data_root=data_root, split="val", indices=1000, pipeline=test_pipeline),
    sampler=dict(type="DefaultSampler", shuffle=False),
    collate_fn=dict(type="default_collate"),
)
test_dataloader = val_dataloader
val_evaluator = [dict(type="Accuracy", topk=(1,)), dict(type="camtool.ValidationLoss")]
test_evaluator = val_evaluator

train_cfg = dict(by_epoch=True, max_epochs=50, val_interval=1)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(optimizer=dict(type="Adam", lr=1e-3, weight_decay=1e-4))
param_scheduler = dict(type="ReduceOnPlateauLR", monitor="cross_entropy/mean", rule="less", factor=0.5, patience=3, min_value=1e-6)

default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=10),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(type="camtool.CheckpointHook", interval=2, max_keep_ckpts=3),
    sampler_seed=dict(type="DistSamplerSeedHook"),
)
custom_hooks = [dict(type="camtool.EarlyStoppingHook", monitor="accuracy/top1", patience=5)]
randomness = dict(seed=0)
work_dir = "outputs/train/resnet18_cam_imagenette-160px"

# Checkpoints of torchvision's ResNet can be loaded as well.
cam = dict(checkpoint_keys=[(r"^fc\.", "head.fc."), (r"^(?=(conv1|bn1|layer[1-4])\.)", "backbone.")])
