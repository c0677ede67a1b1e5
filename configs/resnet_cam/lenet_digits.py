"""LeNet-like network with global average pooling on the handwritten digits of scikit-learn; for MNIST, which is downloaded, add:

--cfg-options train_dataloader.dataset.source=mnist val_dataloader.dataset.source=mnist test_dataloader.dataset.source=mnist
"""

default_scope = "mmpretrain"

data_preprocessor = dict(num_classes=10, mean=[77.0], std=[90.0], to_rgb=False)
model = dict(
    type="ImageClassifier",
    backbone=dict(type="camtool.ConvNet", in_channels=1, channels=(6, 16, 120), strides=(1, 2, 2), kernel_size=5),  # a map of 8x8
    neck=dict(type="GlobalAveragePooling"),
    head=dict(type="LinearClsHead", num_classes=10, in_channels=120),
)

pipeline = [
    dict(type="camtool.LoadImageFromFile", color_type="grayscale"),
    dict(type="Resize", scale=(32, 32)),  # LeNet's input size
    dict(type="PackInputs"),
]
train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    dataset=dict(type="camtool.Digits", split="train", source="scikit-learn", data_root="data", pipeline=pipeline),
    sampler=dict(type="DefaultSampler", shuffle=True),
    collate_fn=dict(type="default_collate"),
)
val_dataloader = dict(
    batch_size=100,
    num_workers=0,
    dataset=dict(type="camtool.Digits", split="val", source="scikit-learn", data_root="data", pipeline=pipeline),
    sampler=dict(type="DefaultSampler", shuffle=False),
    collate_fn=dict(type="default_collate"),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="Accuracy", topk=(1,))
test_evaluator = val_evaluator

train_cfg = dict(by_epoch=True, max_epochs=15, val_interval=1)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(optimizer=dict(type="Adam", lr=5e-3, weight_decay=1e-4))
param_scheduler = dict(type="CosineAnnealingLR", T_max=15, by_epoch=True, convert_to_iter_based=True)

default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=10),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(type="camtool.CheckpointHook", interval=1, max_keep_ckpts=2),
    sampler_seed=dict(type="DistSamplerSeedHook"),
)
custom_hooks = [dict(type="camtool.EarlyStoppingHook", monitor="accuracy/top1", patience=5)]
randomness = dict(seed=0)
work_dir = "outputs/train/lenet_digits"
