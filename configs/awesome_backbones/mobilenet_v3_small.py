"""MobileNetV3-Small on five kinds of flowers, a config of Awesome-Backbones; data_cfg.test.ckpt is a checkpoint of its trainer."""

model_cfg = dict(
    backbone=dict(type="MobileNetV3", arch="small"),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(
        type="StackedLinearClsHead",
        num_classes=5,
        in_channels=576,
        mid_channels=[1024],
        dropout_rate=0.2,
        act_cfg=dict(type="HSwish"),
    ),
)

val_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", size=(256, -1), backend="pillow"),
    dict(type="CenterCrop", crop_size=224),
    dict(type="Normalize", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True),
    dict(type="ImageToTensor", keys=["img"]),
    dict(type="Collect", keys=["img"]),
]

data_cfg = dict(
    test=dict(
        ckpt="",
        classes=["daisy", "dandelion", "roses", "sunflowers", "tulips"],  # default: those in datas/annotations.txt, if it exists
    )
)
