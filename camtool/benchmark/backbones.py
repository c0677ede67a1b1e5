"""One config for each backbone class of mmpretrain, with fewer channels where the class allows it.

Depths are those of the published network if the name of the default target layer contains a depth. The sweep, the table of supported
backbones and its test use this list; a test compares it with all classes and configs of mmpretrain.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from camtool.config.loading import LoadedConfig, load_config

SIZES = ((224, 224), (256, 320))


@dataclass(frozen=True)
class Example:
    """A config of a backbone, and overrides that make it small."""

    config: str
    """Path in mmpretrain's configs, without `.py`."""
    narrow: Mapping[str, Any] = field(default_factory=dict)
    """Overrides below `model.` that reduce the number of channels."""
    model: Mapping[str, Any] = field(default_factory=dict)
    """Overrides below `model.` that select the backbone, if mmpretrain has no config of it."""
    channels: int = 3
    """Of the input."""
    sizes: tuple[tuple[int, int], ...] = SIZES
    """(height, width) of the inputs to try."""


def load_example(example: Example, *, narrow: bool = True) -> LoadedConfig:
    """Return the config of `example`, with few channels (`narrow`) or with the published number."""
    overrides = {**example.model, **(example.narrow if narrow else {})}
    return load_config(f"mmpretrain::{example.config}.py", {f"model.{key}": value for key, value in overrides.items()})


def _arch(head: Any, /, **arch: Any) -> dict[str, Any]:
    return {"backbone.arch": {"_delete_": True, **arch}, "head.in_channels": head}


_NARROW = {"embed_dims": 96, "num_layers": 12, "num_heads": 3, "feedforward_channels": 192}
_VIT = _arch(96, **_NARROW)


def _resnet(channels: int, width: int) -> dict[str, Any]:
    return {"backbone.stem_channels": channels, "backbone.base_channels": channels, "head.in_channels": width}


def _twins(**arch: Any) -> dict[str, Any]:
    shared = {"embed_dims": [16, 32, 64, 128], "patch_sizes": [4, 2, 2, 2], "strides": [4, 2, 2, 2], "sr_ratios": [8, 4, 2, 1]}
    return _arch(128, **shared | {"mlp_ratios": [4] * 4} | arch)


_HRNET = {
    f"stage{stage}": {
        "num_modules": 1,
        "num_branches": stage,
        "block": "BOTTLENECK" if stage == 1 else "BASIC",
        "num_blocks": (1,) * stage,
        "num_channels": (4, 8, 16, 32)[:stage],
    }
    for stage in range(1, 5)
}

BACKBONES: dict[str, Example] = {
    "AlexNet": Example("vgg/vgg11_8xb32_in1k", model={"backbone": {"_delete_": True, "type": "AlexNet", "num_classes": 10}}),
    "BEiTViT": Example("beit/benchmarks/beit-base-p16_8xb128-coslr-100e_in1k", _VIT),
    "CSPDarkNet": Example("cspnet/cspdarknet50_8xb32_in1k"),
    "CSPResNeXt": Example("cspnet/cspresnext50_8xb32_in1k"),
    "CSPResNet": Example("cspnet/cspresnet50_8xb32_in1k"),
    "Conformer": Example(
        "conformer/conformer-small-p16_8xb128_in1k", _arch([256, 96], embed_dims=96, channel_ratio=1, num_heads=3, depths=12)
    ),
    "ConvMixer": Example("convmixer/convmixer-768-32_10xb64_in1k", _arch(64, embed_dims=64, depth=32, patch_size=7, kernel_size=7)),
    "ConvNeXt": Example("convnext/convnext-tiny_32xb128_in1k", _arch(128, depths=[3, 3, 9, 3], channels=[16, 32, 64, 128])),
    "ConvNeXt V2": Example("convnext_v2/convnext-v2-atto_32xb32_in1k"),
    "DaViT": Example("davit/davit-tiny_4xb256_in1k", _arch(192, embed_dims=24, depths=[1, 1, 3, 1], num_heads=[1, 2, 4, 8])),
    "DeiT3": Example("deit3/deit3-small-p16_64xb64_in1k", _VIT),
    "DenseNet": Example("densenet/densenet121_4xb256_in1k", _arch(256, growth_rate=8, depths=[6, 12, 24, 16], init_channels=16)),
    "DistilledVisionTransformer": Example("deit/deit-tiny-distilled_4xb256_in1k", _VIT),
    "EdgeNeXt": Example("edgenext/edgenext-xxsmall_8xb256_in1k"),
    "EfficientFormer": Example("efficientformer/efficientformer-l1_8xb128_in1k"),
    "EfficientNet": Example("efficientnet/efficientnet-b0_8xb32_in1k"),
    "EfficientNetV2": Example("efficientnet_v2/efficientnetv2-b0_8xb32_in1k"),
    "HRNet": Example("hrnet/hrnet-w18_4xb32_in1k", {"backbone.extra": _HRNET, "neck.0.in_channels": (4, 8, 16, 32)}),
    "HiViT": Example("hivit/hivit-tiny-p16_16xb64_in1k", _arch(96, embed_dims=96, depths=[1, 1, 10], num_heads=3)),
    "HorNet": Example(
        "hornet/hornet-tiny-gf_8xb128_in1k",
        _arch(
            128,
            base_dim=16,
            depths=[2, 3, 2, 2],
            orders=[2, 3, 4, 5],
            dw_cfg=[{"type": "DW", "kernel_size": 7}] * 2 + [{"type": "GF", "h": 14, "w": 8}, {"type": "GF", "h": 7, "w": 4}],
        ),
    ),
    "InceptionV3": Example("inception_v3/inception-v3_8xb32_in1k"),
    "LeNet5": Example("lenet/lenet5_mnist", channels=1, sizes=(*SIZES, (32, 32))),
    "LeViT": Example("levit/levit-128s_8xb256_in1k"),
    "LoRAModel": Example(
        "vision_transformer/vit-base-p16_8xb64-lora_in1k-384px",
        {"backbone.module.arch": {"_delete_": True, **_NARROW}, "head.in_channels": 96},
    ),
    "MViT": Example("mvit/mvitv2-tiny_8xb256_in1k", _arch(192, embed_dims=24, num_layers=10, num_heads=1, downscale_indices=[1, 3, 8])),
    "MixMIMTransformer": Example(
        "mixmim/benchmarks/mixmim-base_8xb128-coslr-100e_in1k",
        _arch(192, embed_dims=24, depths=[2, 2, 18, 2], num_heads=[1, 2, 4, 8]),
    ),
    "MlpMixer": Example(
        "mlp_mixer/mlp-mixer-base-p16_64xb64_in1k", _arch(96, embed_dims=96, num_layers=12, tokens_mlp_dims=64, channels_mlp_dims=192)
    ),
    "MoCoV3ViT": Example("mocov3/benchmarks/vit-small-p16_8xb128-linear-coslr-90e_in1k", _VIT),
    "MobileNetV2": Example("mobilenet_v2/mobilenet-v2_8xb32_in1k"),
    "MobileNetV3": Example("mobilenet_v3/mobilenet-v3-large_8xb128_in1k"),
    "MobileOne": Example(
        "mobileone/mobileone-s0_8xb32_in1k",
        _arch(128, num_blocks=[2, 8, 10, 1], width_factor=[0.25] * 4, num_conv_branches=[2] * 4, num_se_blocks=[0] * 4),
    ),
    "MobileViT": Example("mobilevit/mobilevit-xxsmall_8xb128_in1k"),
    "PCPVT": Example("twins/twins-pcpvt-small_8xb128_in1k", _twins(depths=[3, 4, 6, 3], num_heads=[1, 2, 4, 8], mlp_ratios=[8, 8, 4, 4])),
    "PoolFormer": Example("poolformer/poolformer-s12_32xb128_in1k", _arch(128, layers=[2, 2, 6, 2], embed_dims=[16, 32, 64, 128])),
    "PyramidVig": Example("vig/pvig-tiny_8xb128_in1k"),
    "RIFormer": Example("riformer/riformer-s12_8xb128_in1k", _arch(128, layers=[2, 2, 6, 2], embed_dims=[16, 32, 64, 128])),
    "RegNet": Example("regnet/regnetx-400mf_8xb128_in1k"),
    "RepLKNet": Example(
        "replknet/replknet-31L_32xb64_in1k-384px",
        _arch(64, large_kernel_sizes=[31, 29, 27, 13], layers=[2, 2, 2, 2], channels=[8, 16, 32, 64], small_kernel=5, dw_ratio=1),
    ),
    "RepMLPNet": Example(
        "repmlp/repmlp-base_8xb64_in1k", _arch(128, channels=[16, 32, 64, 128], depths=[2, 2, 12, 2], sharesets_nums=[1, 4, 32, 128])
    ),
    "RepVGG": Example("repvgg/repvgg-A0_8xb32_in1k"),
    "Res2Net": Example("res2net/res2net50-w14-s8_8xb32_in1k", _resnet(16, 512)),
    "ResNeSt": Example("resnest/resnest50_32xb64_in1k", _resnet(16, 512)),
    "ResNeXt": Example("resnext/resnext50-32x4d_8xb32_in1k", _resnet(16, 512)),
    "ResNet": Example("resnet/resnet18_8xb32_in1k"),
    "ResNet, CSRA head": Example("csra/resnet101-csra_1xb16_voc07-448px", _resnet(16, 512)),
    "ResNetV1c": Example("resnet/resnetv1c50_8xb32_in1k", _resnet(16, 512)),
    "ResNetV1d": Example("resnet/resnetv1d50_8xb32_in1k", _resnet(16, 512)),
    "ResNet_CIFAR": Example("resnet/resnet18_8xb16_cifar10", _resnet(8, 64), sizes=(*SIZES, (32, 32))),
    "RevVisionTransformer": Example("revvit/revvit-small_8xb256_in1k", _VIT | {"head.in_channels": 192}),  # two streams
    "SEResNeXt": Example("seresnet/seresnext50-32x4d_8xb32_in1k", _resnet(16, 512)),
    "SEResNet": Example("seresnet/seresnet50_8xb32_in1k", _resnet(16, 512)),
    "SVT": Example("twins/twins-svt-small_8xb128_in1k", _twins(depths=[2, 2, 10, 4], num_heads=[1, 2, 4, 8], window_sizes=[7] * 4)),
    "ShuffleNetV1": Example("shufflenet_v1/shufflenet-v1-1x_16xb64_in1k"),
    "ShuffleNetV2": Example("shufflenet_v2/shufflenet-v2-1x_16xb64_in1k"),
    "SwinTransformer": Example(
        "swin_transformer/swin-tiny_16xb64_in1k", _arch(192, embed_dims=24, depths=[2, 2, 6, 2], num_heads=[1, 2, 4, 8])
    ),
    "SwinTransformerV2": Example(
        "swin_transformer_v2/swinv2-tiny-w8_16xb64_in1k-256px",
        _arch(192, embed_dims=24, depths=[2, 2, 6, 2], num_heads=[1, 2, 4, 8], extra_norm_every_n_blocks=0),
        {"backbone.img_size": 224, "backbone.window_size": [7, 7, 7, 7]},  # at 224 there are fewer cells than a window of 8
    ),
    "T2T_ViT": Example(
        "t2t_vit/t2t-vit-t-14_8xb64_in1k",
        {
            "backbone.embed_dims": 96,
            "backbone.t2t_cfg.token_dims": 16,
            "backbone.layer_cfgs": {"num_heads": 3, "feedforward_channels": 192},
            "head.in_channels": 96,
        },
    ),
    "TIMMBackbone": Example(
        "efficientnet/efficientnet-b0_8xb32_in1k",
        model={"backbone": {"_delete_": True, "type": "TIMMBackbone", "model_name": "resnet10t"}, "head.in_channels": 512},
    ),
    "TNT": Example(
        "tnt/tnt-s-p16_16xb64_in1k",
        _arch(96, embed_dims_outer=96, embed_dims_inner=8, num_layers=12, num_heads_outer=3, num_heads_inner=2),
    ),
    "TinyViT": Example(
        "tinyvit/tinyvit-5m_8xb256_in1k", _arch(128, channels=[16, 32, 64, 128], num_heads=[1, 2, 4, 8], depths=[2, 2, 6, 2])
    ),
    "VAN": Example("van/van-tiny_8xb128_in1k", _arch(64, embed_dims=[8, 16, 32, 64], depths=[3, 3, 5, 2], ffn_ratios=[8, 8, 4, 4])),
    "VGG": Example("vgg/vgg11_8xb32_in1k"),
    "ViTEVA02": Example("eva02/eva02-tiny-p14_in1k"),
    "ViTSAM": Example(  # shipped without a head, and without a pipeline
        "resnet/resnet18_8xb32_in1k",
        {"backbone.arch": {**_NARROW, "global_attn_indexes": [2, 5, 8, 11]}},
        {"backbone": {"_delete_": True, "type": "ViTSAM", "img_size": 224}, "head.in_channels": 256},
    ),
    "Vig": Example("vig/vig-tiny_8xb128_in1k"),
    "VisionTransformer": Example("deit/deit-tiny_4xb256_in1k", _VIT),
    "XCiT": Example("xcit/xcit-nano-12-p16_8xb128_in1k"),
}

_BY_MASK = "self-supervised only: it looks at what a mask leaves; the trained weights go into the class without it"

WITHOUT_MAP: dict[str, tuple[str, ...]] = {
    _BY_MASK: (
        *("BEiTPretrainViT", "CAEPretrainViT", "MAEHiViT", "MAEViT", "MFFViT", "MILANViT", "MaskFeatViT", "MixMIMPretrainTransformer"),
        *("SimMIMSwinTransformer", "SparseConvNeXt", "SparseResNet", "iTPNHiViT"),
    ),
    "the base class of CSPDarkNet, CSPResNet and CSPResNeXt, with no architecture of its own": ("CSPNet",),
}
"""Backbone classes without a map, by reason: they are in no classifier."""

NOT_CLASSIFIERS: dict[str, tuple[str, ...]] = {
    _BY_MASK: ("BEiT", "CAE", "EVA", "MAE", "MFF", "MILAN", "MaskFeat", "MixMIM", "SimMIM", "SparK", "iTPN"),
    "self-supervised only: it compares two views; the trained backbone is used in an ImageClassifier": (
        *("BYOL", "BarlowTwins", "DenseCL", "MoCo", "MoCoV3", "SimCLR", "SimSiam", "SwAV"),
    ),
    "multimodal: its output depends on a text": (
        *("Blip2Caption", "Blip2Retrieval", "Blip2VQA", "BlipCaption", "BlipGrounding", "BlipNLVR", "BlipRetrieval", "BlipVQA"),
        *("CLIPZeroShot", "ChineseCLIP", "Flamingo", "Llava", "MiniGPT4", "OFA", "Otter"),
    ),
    "retrieval: its outputs are distances to a gallery": ("ImageToImageRetriever",),
}
"""Models of mmpretrain's configs that are not an ImageClassifier, by reason."""
