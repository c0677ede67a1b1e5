"""Tiny transformers with random weights: every way in which a network may compute attention."""

import warnings
from collections.abc import Callable
from importlib.util import find_spec

import torch
import torchvision
from torch import Tensor, nn

CLASSES = 5


def spread(model: nn.Module) -> nn.Module:
    """Return the model in eval mode with weights that make attention uneven and no head zero."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    return model.eval()


def picture(count: int = 2, size: tuple[int, int] = (32, 32)) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    return torch.randn(count, 3, *size, generator=generator)


def mmpretrain_net(backbone: dict, channels: int, *, head: str = "LinearClsHead", neck: str | None = "GlobalAveragePooling") -> nn.Module:
    classifier = {
        "type": "ImageClassifier",
        "backbone": backbone,
        "neck": None if neck is None else {"type": neck},
        "head": {"type": head, "num_classes": CLASSES, "in_channels": channels, "loss": {"type": "CrossEntropyLoss"}},
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mmcv-lite remarks on what it leaves out, mmcv on biases before norms
        import mmpretrain.models  # noqa: F401 - fills the registry
        from mmpretrain.registry import MODELS

        return spread(MODELS.build(classifier))


ARCH = {"embed_dims": 16, "num_layers": 3, "num_heads": 2, "feedforward_channels": 32}


def mmpretrain_vit(size: int | tuple[int, int] = 32, backbone: str = "VisionTransformer", **options: object) -> nn.Module:
    backbone_config = dict(type=backbone, arch=ARCH, img_size=size, patch_size=8, **options)
    return mmpretrain_net(backbone_config, 16, head="VisionTransformerClsHead", neck=None)


def mmpretrain_distilled() -> nn.Module:
    backbone = {"type": "DistilledVisionTransformer", "arch": ARCH, "img_size": 32, "patch_size": 8}
    return mmpretrain_net(backbone, 16, head="DeiTClsHead", neck=None)


def mmpretrain_beit() -> nn.Module:
    backbone = {
        "type": "BEiTViT",
        "arch": ARCH,
        "img_size": 32,
        "patch_size": 8,
        "out_type": "avg_featmap",
        "use_abs_pos_emb": False,
        "use_rel_pos_bias": True,
    }
    return mmpretrain_net(backbone, 16, neck=None)


def mmpretrain_swin() -> nn.Module:
    arch = {"embed_dims": 8, "depths": [2, 2], "num_heads": [1, 2]}
    return mmpretrain_net(
        {"type": "SwinTransformer", "arch": arch, "img_size": 32, "patch_size": 2, "window_size": 4, "out_indices": (1,)}, 16
    )


def mmpretrain_t2t() -> nn.Module:
    backbone = {
        "type": "T2T_ViT",
        "img_size": 32,
        "embed_dims": 16,
        "t2t_cfg": {"token_dims": 8, "use_performer": False},
        "num_layers": 2,
        "layer_cfgs": {"num_heads": 2, "feedforward_channels": 32},
    }
    return mmpretrain_net(backbone, 16, head="VisionTransformerClsHead", neck=None)


def mmpretrain_pvt() -> nn.Module:
    arch = {
        "embed_dims": [8, 8, 16, 16],
        "depths": [1, 1, 1, 1],
        "num_heads": [1, 1, 2, 2],
        "patch_sizes": [4, 2, 2, 2],
        "strides": [4, 2, 2, 2],
    }
    arch |= {"mlp_ratios": [2, 2, 2, 2], "sr_ratios": [4, 2, 2, 1]}
    return mmpretrain_net({"type": "PCPVT", "arch": arch, "out_indices": (3,)}, 16)


def mmpretrain_mvit() -> nn.Module:
    arch = {"embed_dims": 8, "num_layers": 3, "num_heads": 1, "downscale_indices": [1]}
    backbone = {"type": "MViT", "arch": arch, "img_size": 64, "out_scales": [1], "drop_path_rate": 0.0}
    return mmpretrain_net(backbone, 16)


def mmpretrain_xcit() -> nn.Module:
    backbone = {
        "type": "XCiT",
        "patch_size": 8,
        "embed_dims": 32,
        "depth": 2,
        "cls_attn_layers": 1,
        "num_heads": 1,
        "layer_scale_init_value": 1.0,
        "tokens_norm": True,
    }
    return mmpretrain_net(backbone, 32, neck=None)


def timm_vit(*, fused: bool = True, pool: str = "token", size: tuple[int, int] = (32, 32), heads: int = 2) -> nn.Module:
    import timm
    from timm.models.vision_transformer import Attention

    model = timm.create_model(
        "vit_tiny_patch16_224",
        img_size=size,
        patch_size=8,
        embed_dim=16,
        depth=3,
        num_heads=heads,
        num_classes=CLASSES,
        global_pool=pool,
        class_token=pool == "token",
    )
    for module in model.modules():
        if isinstance(module, Attention):
            module.fused_attn = fused
    return spread(model)


def timm_swin() -> nn.Module:
    import timm

    return spread(
        timm.create_model(
            "swin_tiny_patch4_window7_224",
            img_size=32,
            patch_size=2,
            window_size=4,
            embed_dim=8,
            depths=(2, 2),
            num_heads=(1, 2),
            num_classes=CLASSES,
        )
    )


def torchvision_vit(layers: int = 3) -> nn.Module:
    return spread(
        torchvision.models.VisionTransformer(
            image_size=32, patch_size=8, num_layers=layers, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=CLASSES
        )
    )


def torchvision_swin() -> nn.Module:
    return spread(
        torchvision.models.SwinTransformer(
            patch_size=[2, 2], embed_dim=8, depths=[2, 2], num_heads=[1, 2], window_size=[4, 4], num_classes=CLASSES
        )
    )


class Encoder(nn.Module):
    """nn.TransformerEncoder over patches and a class token: the fast path of torch itself, in evaluation without gradients."""

    def __init__(self, *, batch_first: bool = True, layers: int = 3) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 8, 8)
        self.token = nn.Parameter(torch.zeros(1, 1, 16))
        layer = nn.TransformerEncoderLayer(16, 2, 32, activation="gelu", batch_first=batch_first, norm_first=False)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=batch_first)
        self.head = nn.Linear(16, CLASSES)
        self.batch_first = batch_first

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(tokens), -1, -1), tokens], dim=1)
        if self.batch_first:
            return self.head(self.encoder(tokens)[:, 0])
        return self.head(self.encoder(tokens.transpose(0, 1))[0])


def torch_encoder() -> nn.Module:
    return spread(Encoder())


def torch_encoder_length_first() -> nn.Module:
    return spread(Encoder(batch_first=False))


def huggingface_vit(attention: str) -> nn.Module:
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8, num_labels=CLASSES
    )
    config._attn_implementation = attention
    return spread(ViTForImageClassification(config))


FAMILIES: dict[str, Callable[[], nn.Module]] = {
    "mmpretrain ViT": mmpretrain_vit,
    "mmpretrain BEiT": mmpretrain_beit,
    "mmpretrain Swin": mmpretrain_swin,
    "mmpretrain T2T": mmpretrain_t2t,
    "mmpretrain PCPVT": mmpretrain_pvt,
    "mmpretrain MViT": mmpretrain_mvit,
    "mmpretrain XCiT": mmpretrain_xcit,
    "timm ViT, fused": timm_vit,
    "timm ViT, unfused": lambda: timm_vit(fused=False),
    "timm Swin": timm_swin,
    "torchvision ViT": torchvision_vit,
    "torchvision Swin": torchvision_swin,
    "nn.TransformerEncoder": torch_encoder,
    "nn.TransformerEncoder, length first": torch_encoder_length_first,
}
if find_spec("transformers"):  # beside some packages it breaks the import of mmpretrain's models, so it is no test dependency
    FAMILIES["Hugging Face ViT, sdpa"] = lambda: huggingface_vit("sdpa")
    FAMILIES["Hugging Face ViT, eager"] = lambda: huggingface_vit("eager")
