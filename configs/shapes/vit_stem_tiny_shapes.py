"""A vision transformer of three blocks with a convolutional stem on synthetic shapes."""

_base_ = "../resnet_cam/resnet18_cam_shapes.py"

model = dict(
    _delete_=True,
    type="ImageClassifier",
    backbone=dict(
        type="VisionTransformer",
        arch=dict(embed_dims=64, num_layers=3, num_heads=4, feedforward_channels=128),
        img_size=64,
        patch_size=8,  # 8x8 tokens
        patch_cfg=dict(conv_type="camtool.ConvStem"),  # vit_tiny_shapes.py has one convolution over each patch
    ),
    neck=None,
    # From zeros, as mmpretrain begins, the class token is long in finding where to look.
    head=dict(type="VisionTransformerClsHead", num_classes=6, in_channels=64, init_cfg=dict(type="TruncNormal", layer="Linear", std=0.1)),
)
train_dataloader = dict(dataset=dict(count=24000))
train_cfg = dict(max_epochs=3)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="AdamW", lr=2e-3, weight_decay=0.02, fused=True),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, end=200, by_epoch=False),
    dict(type="CosineAnnealingLR", T_max=3, end=3, by_epoch=True, convert_to_iter_based=True),
]
work_dir = "outputs/train/vit_stem_tiny_shapes"
