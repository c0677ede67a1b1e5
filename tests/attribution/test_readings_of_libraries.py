"""Readings of the networks of timm, torchvision and Hugging Face: tiny ones of random weights, against the grids they are built with."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from camtool import CAM
from camtool.errors import CamtoolError
from tests.attribution.drawn import assert_drawn, assert_right_or_told, assert_words, dotted, explained, score
from tests.token_networks import Arrangement, by_hand, pictures, raster_order, words
from tests.transformers import spread

Maps = Callable[[Tensor], Tensor]
NCHW: Maps = lambda tensor: tensor  # noqa: E731
NHWC: Maps = lambda tensor: tensor.movedim(-1, 1)  # noqa: E731


def tokens(*grid: int, front: int = 0, behind: int = 0) -> Maps:
    return Arrangement(grid, front=front, behind=behind).maps


def timm_net(name: str, **options: Any) -> nn.Module:
    import timm

    return timm.create_model(name, num_classes=4, **options)


def timm_vit(**options: Any) -> nn.Module:
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(**{"img_size": 112, "patch_size": 14, "embed_dim": 64, "depth": 2, "num_heads": 4, "num_classes": 4} | options)


def vit_with_half_the_stride() -> nn.Module:
    """Return a ViT whose patches overlap by half, as users of DINO make them: 1 + 7x7 tokens of 64 pixels."""
    network = timm_vit(img_size=64, patch_size=16)
    network.patch_embed.proj.stride = (8, 8)
    network.patch_embed.strict_img_size = False
    network.pos_embed = nn.Parameter(torch.randn(1, 7 * 7 + 1, 64) * 0.1)
    return network


def mvit() -> nn.Module:
    from torchvision.models.video.mvit import MSBlockConfig, MViT

    def block(heads: int, width: int, out: int, stride: int) -> Any:
        kernel = {"kernel_q": [3, 3, 3], "kernel_kv": [3, 3, 3], "stride_kv": [1, 1, 1]}
        return MSBlockConfig(num_heads=heads, input_channels=width, output_channels=out, stride_q=[1, stride, stride], **kernel)

    return MViT(
        spatial_size=(64, 64),
        temporal_size=8,
        block_setting=[block(1, 16, 64, 1), block(2, 64, 64, 2)],
        residual_pool=True,
        residual_with_cls_embed=False,
        rel_pos_embed=True,
        proj_after_attn=True,
        num_classes=4,
    )


def convnext() -> nn.Module:
    """Return a ConvNeXt whose first stage is a cube, (n, 16, 16, 16) of 64 pixels, with a LayerNorm of 16 in its blocks."""
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    return ConvNeXt([CNBlockConfig(16, 32, 1), CNBlockConfig(32, None, 1)], layer_scale=0.5, num_classes=4)


def swin3d() -> nn.Module:
    from torchvision.models.video.swin_transformer import SwinTransformer3d

    settings = {"patch_size": [2, 4, 4], "window_size": [2, 4, 4], "embed_dim": 16, "depths": [2, 2], "num_heads": [1, 2]}
    return SwinTransformer3d(num_classes=4, **settings)


def swin() -> nn.Module:
    settings = {"patch_size": [2, 2], "window_size": [4, 4], "embed_dim": 16, "depths": [2, 2], "num_heads": [1, 2]}
    return torchvision.models.SwinTransformer(num_classes=4, **settings)  # at 32 pixels a cube, too: (n, 16, 16, 16), channels last


def video_resnet() -> nn.Module:
    return torchvision.models.video.r3d_18(num_classes=4)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], dict[str, Maps], str]] = {
    # name: network, input size, layers and where their cells stand, what the default layer starts with
    "ViT of 64 channels": (
        timm_vit,
        (112, 112),
        {"blocks[0]": tokens(8, 8, front=1), "blocks[1].norm1": tokens(8, 8, front=1)},
        "blocks[1]",
    ),
    "ViT with registers": (
        lambda: timm_vit(reg_tokens=4),
        (112, 112),
        {"blocks[0]": tokens(8, 8, front=5)},
        "blocks[1]",
    ),
    "ViT of an oblong picture": (
        lambda: timm_vit(img_size=(56, 112), patch_size=8, embed_dim=128),
        (56, 112),
        {"blocks[0]": tokens(7, 14, front=1)},
        "blocks[1]",
    ),
    "ViT with half the stride": (vit_with_half_the_stride, (64, 64), {"blocks[0]": tokens(7, 7, front=1)}, "blocks[1]"),
    "torchvision's ViT": (
        lambda: torchvision.models.VisionTransformer(image_size=128, patch_size=16, num_layers=2, num_heads=2, hidden_dim=64, mlp_dim=32),
        (128, 128),
        {"encoder.layers.encoder_layer_0": tokens(8, 8, front=1)},
        "encoder.layers.encoder_layer_1",
    ),
    "MViT": (mvit, (8, 64, 64), {"blocks[0]": tokens(4, 16, 16, front=1), "blocks[1].norm1": tokens(4, 16, 16, front=1)}, ""),
    "ConvNeXt": (convnext, (64, 64), {"features[1]": NCHW, "features[3]": NCHW, "features[1][0].block[2]": NHWC}, "features[3]"),
    "Swin": (swin, (32, 32), {"features[0]": NHWC, "features[1][0]": NHWC, "features[3]": NHWC}, ""),
    "Swin of videos": (swin3d, (8, 32, 32), {"features[0]": NHWC, "features[2]": NHWC}, ""),
    "ResNet of videos": (video_resnet, (8, 32, 32), {"layer2": NCHW, "layer4": NCHW}, "layer4"),
}


@pytest.fixture(params=NETWORKS, scope="module")
def library_net(request: pytest.FixtureRequest) -> tuple[nn.Module, Tensor, dict[str, Maps], str]:
    """A network, a picture for it, the truth about some of its layers, and how its default layer's path starts."""
    build, size, layers, default = NETWORKS[request.param]
    torch.manual_seed(0)
    return spread(build()), pictures(size, 1), layers, default


def test_layers_of_libraries_networks_are_drawn_where_their_cells_look(library_net: tuple[nn.Module, Tensor, dict[str, Maps], str]) -> None:
    network, inputs, layers, _ = library_net
    for path, maps in layers.items():
        assert_drawn(network, path, inputs, maps)


def test_the_default_of_libraries_networks_has_the_grid_of_its_cells(library_net: tuple[nn.Module, Tensor, dict[str, Maps], str]) -> None:
    network, inputs, layers, default = library_net
    result, remarks = explained(network, None, inputs)
    (layer,) = result.layers
    assert layer.startswith(default)
    assert not remarks
    assert result.layout_evidence[layer] in ("measured", "only reading")
    grids = [tuple(by_hand(network, network.get_submodule(dotted(path)), inputs, score, maps).shape[1:]) for path, maps in layers.items()]
    assert tuple(result.raw[layer].shape[1:]) in grids, layer


def crossvit() -> nn.Module:
    return timm_net("crossvit_tiny_240", depth=([1, 1, 0], [1, 1, 0], [1, 1, 0]))


def test_both_branches_of_crossvit_are_tokens_behind_a_class_token() -> None:
    network, inputs = spread(crossvit()), pictures((240, 240), 1)
    for path, grid in (("blocks[2].blocks[0][0].norm1", (20, 20)), ("blocks[2].blocks[1][0].norm1", (14, 14))):
        assert_drawn(network, path, inputs, tokens(*grid, front=1), evidence="measured")
    layers = {layer.path: layer for layer in CAM(network).probe(inputs).layers}
    assert (layers["norm[0]"].grid, layers["norm[1]"].grid) == ((20, 20), (14, 14))


def test_crossvits_default_is_no_attention() -> None:
    result, remarks = explained(spread(crossvit()), None, pictures((240, 240), 1))
    assert result.raw[result.layers[0]].shape[1:] in ((20, 20), (14, 14)), result.layers
    assert not remarks


def hiera() -> nn.Module:
    """Return a small Hiera: 32x32, 16x16, 8x8 and 4x4 tokens of 128 pixels, in unrolled order but the last."""
    from timm.models.hiera import Hiera

    return Hiera(img_size=(128, 128), embed_dim=16, num_heads=1, stages=(1, 1, 1, 1), num_classes=4)


@pytest.mark.parametrize("block", [1, 2, 3, pytest.param(0, marks=pytest.mark.slow)])
def test_hieras_inner_blocks_are_put_in_order(block: int) -> None:
    network = spread(hiera()).double()  # at the inner blocks the products are rounding in float32
    maps = lambda tensor: network.reroll(tensor, block).movedim(-1, 1)  # noqa: E731 - the network's own way back
    assert_drawn(network, f"blocks[{block}]", pictures((128, 128), 1).double(), maps, evidence="measured", method="hirescam")


@pytest.mark.slow
@pytest.mark.parametrize("block", [0, 2, 9, 11])
def test_the_published_hieras_blocks_are_put_in_order(block: int) -> None:
    torch.manual_seed(0)
    network = timm_net("hiera_tiny_224").double().eval()  # in float32 the products at the inner blocks are rounding
    nn.init.normal_(network.head.fc.weight)  # timm starts it almost at zero, where nothing has a gradient
    maps = lambda tensor: network.reroll(tensor, block).movedim(-1, 1)  # noqa: E731
    assert_drawn(network, f"blocks[{block}]", pictures((224, 224), 1).double(), maps, evidence="measured", method="hirescam")


@pytest.mark.parametrize("method", ["rollout", "genericattention"])
def test_rollout_over_hieras_mask_units_is_refused(method: str) -> None:
    with pytest.raises(CamtoolError) as refused:
        explained(spread(hiera()), None, pictures((128, 128), 1), method=method)
    assert_words(refused.value)


# Hugging Face. The configs' sizes are what tests need: a few tokens, few channels.

SMALL = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
VISION = {**SMALL, "hidden_size": 64, "image_size": 64, "patch_size": 16}  # 4x4 tokens of 64 channels, which could be 8x8
TEXT = {
    **SMALL,
    "hidden_size": 32,
    "vocab_size": 99,
    "max_position_embeddings": 77,
    "bos_token_id": 97,
    "eos_token_id": 98,
    "pad_token_id": 0,
}


def logits(output: Any) -> Tensor:
    return output.logits[:, 1].sum()


def test_dinov2_of_64_channels_at_128_pixels_is_9x9() -> None:
    from transformers import Dinov2Config, Dinov2ForImageClassification

    config = Dinov2Config(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, image_size=112, patch_size=14, num_labels=5)
    network = spread(Dinov2ForImageClassification(config))
    for path in ("dinov2.encoder.layer[1].norm1", "dinov2.encoder.layer[0]"):
        assert_drawn(network, path, pictures((128, 128)), tokens(9, 9, front=1), score=logits, evidence="measured")
    result, _ = explained(network, None, pictures((128, 128)))
    assert next(iter(result.raw.values())).shape == (2, 9, 9)


def test_yolos_has_a_class_token_in_front_and_a_hundred_boxes_behind() -> None:
    from transformers import YolosConfig, YolosForObjectDetection

    config = YolosConfig(
        **{**VISION, "image_size": [112, 112], "patch_size": 8}, num_labels=3, num_detection_tokens=100, use_mid_position_embeddings=False
    )
    network = spread(YolosForObjectDetection(config))
    options = {"score": lambda output: output.logits[:, 3, 1].sum(), "target": lambda scores: scores[3, 1]}
    for path in ("vit.encoder.layer[1].layernorm_before", "vit.encoder.layer[0]"):
        assert_drawn(network, path, pictures((112, 112), 1), tokens(14, 14, front=1, behind=100), evidence="measured", **options)
    result, _ = explained(network, None, pictures((112, 112), 1), target=options["target"])
    assert next(iter(result.raw.values())).shape == (1, 14, 14)


@pytest.mark.parametrize(("size", "queries"), [((256, 256), 100), ((192, 256), 16), ((320, 320), 64), ((256, 320), 20)])
def test_detrs_default_lies_over_the_picture_and_its_queries_do_not(size: tuple[int, int], queries: int) -> None:
    from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig

    backbone = ResNetConfig(embedding_size=8, hidden_sizes=[8, 8, 16, 24], depths=[1, 1, 1, 1], layer_type="basic", out_features=["stage4"])
    parts = {f"{part}_{name}": 2 for part in ("encoder", "decoder") for name in ("layers", "attention_heads")}
    parts |= {"encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "d_model": 16, "num_queries": queries, "num_labels": 7}
    config = DetrConfig(use_timm_backbone=False, use_pretrained_backbone=False, backbone=None, backbone_config=backbone, **parts)
    network = spread(DetrForObjectDetection(config))

    def query(scores: Tensor) -> Tensor:
        return scores[3, 2]

    result, _ = explained(network, None, pictures(size, 1), target=query)
    (layer,) = result.layers
    assert not any(part in layer for part in ("decoder", "predictor", "classifier", "query")), layer
    assert result.raw[layer].shape[1:] == (size[0] // 32, size[1] // 32), layer
    for path in ("model.decoder.layers[1]", "model.decoder.layernorm"):
        assert_right_or_told(network, path, pictures(size, 1), None, unmeasurable=True, target=query)


def clip() -> nn.Module:
    from transformers import CLIPConfig, CLIPModel

    return CLIPModel(CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=24))


def siglip() -> nn.Module:
    from transformers import SiglipConfig, SiglipModel

    text = {**TEXT, "hidden_size": 64, "max_position_embeddings": 77}
    return SiglipModel(SiglipConfig(text_config=text, vision_config=VISION))


@pytest.mark.parametrize(("build", "front"), [(clip, 1), (siglip, 0)], ids=["CLIP", "SigLIP"])
@pytest.mark.parametrize("length", [4, 5, 7, 16, 17, 77])
@pytest.mark.parametrize(("count", "captions"), [(1, 1), (2, 2), (2, 3)])
def test_captions_of_any_number_and_length_change_no_reading_of_the_picture(
    build: Callable[[], nn.Module], front: int, length: int, count: int, captions: int
) -> None:
    torch.manual_seed(0)
    network = spread(build())
    ids = words(captions, length) + 1
    ids[:, 0], ids[:, -1] = 97, 98
    inputs = {"pixel_values": pictures((64, 64), count), "input_ids": ids}
    target = captions - 1
    result, remarks = explained(network, None, inputs, target=target)
    (layer,) = result.layers
    assert layer.startswith("vision_model"), layer
    assert result.raw[layer].shape == (count, 4, 4)
    assert not remarks
    path = "vision_model.encoder.layers[1].layer_norm1"
    scored = lambda output: output.logits_per_image[:, target].sum()  # noqa: E731
    assert_drawn(network, path, inputs, tokens(4, 4, front=front), score=scored, target=target)
    with pytest.raises(CamtoolError):
        explained(network, "text_model.encoder.layers[0]", inputs, target=target)


@pytest.mark.parametrize("method", ["rollout", "genericattention", "legrad"])
@pytest.mark.parametrize("build", [clip, siglip])
def test_attention_of_a_picture_and_captions_is_that_of_the_picture_or_refused(build: Callable[[], nn.Module], method: str) -> None:
    network = spread(build())
    for count, captions, length in ((1, 1, 9), (1, 3, 9), (2, 2, 16), (2, 2, 17)):
        inputs = {"pixel_values": pictures((64, 64), count), "input_ids": words(captions, length) + 1}
        try:
            result, _ = explained(network, None, inputs, method=method, target=0)
        except CamtoolError as error:
            assert_words(error)
        else:
            assert all(layer.startswith("vision_model") for layer in result.layers), result.layers
            assert next(iter(result.raw.values())).shape == (count, 4, 4)


@pytest.mark.parametrize("length", [9, 16, 17, 64])
def test_blips_caption_is_no_picture(length: int) -> None:
    from transformers import BlipConfig, BlipForImageTextRetrieval

    text = {**TEXT, "encoder_hidden_size": 64, "sep_token_id": 96}
    network = spread(BlipForImageTextRetrieval(BlipConfig(text_config=text, vision_config=VISION)))
    inputs = {"pixel_values": pictures((64, 64), 1), "input_ids": words(1, length) + 1}
    result, _ = explained(network, None, inputs)
    (layer,) = result.layers
    assert layer.startswith("vision_model"), layer
    assert result.raw[layer].shape == (1, 4, 4)


def test_perceivers_latents_are_no_picture() -> None:
    from transformers import PerceiverConfig, PerceiverForImageClassificationConvProcessing

    heads = {"num_self_attention_heads": 2, "num_cross_attention_heads": 2}
    config = PerceiverConfig(num_latents=64, d_latents=32, num_blocks=1, num_self_attends_per_block=2, num_labels=4, **heads)
    network = spread(PerceiverForImageClassificationConvProcessing(config))
    inputs = {"inputs": pictures((64, 64), 1)}
    try:
        result, _ = explained(network, None, inputs)
    except CamtoolError as error:  # where nothing before the latents can be read
        assert_words(error)
        return
    assert "self_attends" not in result.layers[0]
    assert result.raw[result.layers[0]].shape[1:] != (8, 8)


def test_retinanets_default_is_no_scores_of_anchors() -> None:
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor

    from camtool.targets import BoxScore

    torch.manual_seed(0)
    body = _resnet_fpn_extractor(torchvision.models.resnet18(), 3, returned_layers=[3, 4])
    anchors = AnchorGenerator(((32,), (64,), (128,)), ((1.0,),) * 3)
    network = torchvision.models.detection.RetinaNet(
        body, num_classes=3, score_thresh=0.0, detections_per_img=5, anchor_generator=anchors, min_size=64, max_size=96
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.02)
    image = torch.rand(1, 3, 64, 80, generator=generator)
    network.eval()
    with torch.no_grad():
        found = network([image[0]])[0]
    largest = int((found["boxes"][:, 2:] - found["boxes"][:, :2]).prod(1).argmax())
    result, _ = explained(network, None, image, target=BoxScore(found["boxes"][largest], found["labels"][largest]))
    assert not any(part in result.layers[0] for part in ("head", "rpn")), result.layers


FAMILIES = (
    "cait_xxs24_224",
    "coat_lite_tiny",
    "deit_tiny_distilled_patch16_224",
    "edgenext_xx_small",
    "efficientformer_l1",
    "eva02_tiny_patch14_224",
    "gmlp_ti16_224",
    "maxvit_rmlp_pico_rw_256",
    "mixer_s32_224",
    "mobilevit_xxs",
    "mvitv2_tiny",
    "pit_ti_224",
    "poolformer_s12",
    "pvt_v2_b0",
    "resmlp_12_224",
    "swin_tiny_patch4_window7_224",
    "vit_tiny_r_s16_p8_224",
    "xcit_nano_12_p8_224",
)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_where_a_picture_changes_its_default_layers_map_changes(name: str) -> None:
    """RandomCAM is linear in the activations: the difference of two raw maps lies where the activations differ."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = timm_net(name).eval()
    edge = network.default_cfg["input_size"][-1]
    inputs = pictures((edge, edge), 1) / 10
    try:
        result, _ = explained(network, None, inputs)
    except CamtoolError as error:
        assert_words(error)
        return
    (layer,) = result.layers
    assert result.layout_evidence[layer] in ("measured", "only reading")
    for row, column in ((0.2, 0.75), (0.7, 0.3)):
        changed = inputs.clone()
        top, left, half = int(row * edge), int(column * edge), edge // 16
        changed[..., top - half : top + half, left - half : left + half] += 1.5 * pictures((2 * half, 2 * half), 1, seed=9)
        maps = [explained(network, layer, given, method={"type": "RandomCAM"})[0].raw[layer] for given in (inputs, changed)]
        difference = (maps[1] - maps[0])[0].abs()
        difference = (difference - difference.median()).clamp(min=0) ** 2
        height, width = difference.shape
        rows, columns = (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width
        centre = (difference.sum(1) @ rows / difference.sum(), difference.sum(0) @ columns / difference.sum())
        assert abs(centre[0] - row) < 0.2, f"{layer}: rows"
        assert abs(centre[1] - column) < 0.2, f"{layer}: columns"


def test_frequency_may_come_first_in_a_spectrogram_with_an_axis_of_channels() -> None:
    from transformers import ASTConfig, ASTForAudioClassification

    class Channels(nn.Module):
        """An audio spectrogram transformer that takes (n, 1, time, frequency)."""

        def __init__(self) -> None:
            super().__init__()
            self.ast = ASTForAudioClassification(ASTConfig(**SMALL, hidden_size=24, max_length=128, num_mel_bins=64, num_labels=4))

        def forward(self, spectrograms: Tensor) -> Tensor:
            return self.ast(spectrograms[:, 0]).logits

    network = spread(Channels())
    maps = Arrangement((12, 5), front=2, order=raster_order("column-major", (12, 5))).maps
    for path in ("layers[0]", "layers[1].layernorm_before"):
        assert_drawn(network, f"ast.audio_spectrogram_transformer.{path}", pictures((128, 64), 1, 1), maps)
    result, _ = explained(network, None, pictures((128, 64), 1, 1))
    assert result.raw[result.layers[0]].shape == (1, 12, 5)
