"""A vision transformer of four blocks on synthetic shapes."""

_base_ = "../resnet_cam/resnet18_cam_shapes.py"

model = dict(
    _delete_=True,
    type="ImageClassifier",
    backbone=dict(
        type="VisionTransformer",
        arch=dict(embed_dims=64, num_layers=4, num_heads=4, feedforward_channels=128),
        img_size=64,
        patch_size=8,  # 8x8 patches, each overlapping half of its neighbours
        patch_cfg=dict(kernel_size=16, padding=4),
    ),
    neck=None,
    head=dict(type="VisionTransformerClsHead", num_classes=6, in_channels=64),
)
# A transformer lacks the inductive bias of convolutions, and needs more scenes and epochs.
train_dataloader = dict(batch_size=64, dataset=dict(count=30000))
train_cfg = dict(max_epochs=14)
optim_wrapper = dict(optimizer=dict(_delete_=True, type="AdamW", lr=1e-3, weight_decay=0.02, fused=True))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, end=300, by_epoch=False),
    dict(type="CosineAnnealingLR", T_max=14, end=14, by_epoch=True, convert_to_iter_based=True),
]
work_dir = "outputs/train/vit_tiny_shapes"
