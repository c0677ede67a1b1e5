"""The form of Awesome-Backbones: what it becomes, that the network gets the same input and weights, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from camtool.config.loading import load_config
from camtool.errors import CheckpointError, ConfigError
from camtool.models.loading import load_network
from tests.config.awesome import FAMILIES, FORMATTING, MOBILENET, NORMALIZE, SWIN, T2T, VIT, text, trained
from tests.models.fixtures import ROOT, SMALL

Write = Callable[..., str]
Save = Callable[..., str]
RECIPE = str(ROOT / "configs/awesome_backbones/mobilenet_v3_small.py")
FLOWERS = ["daisy", "dandelion", "roses", "sunflowers", "tulips"]


def test_what_training_needs_is_left_out_and_the_rest_is_mmpretrains(config_file: Write) -> None:
    config = load_config(config_file(text(VIT, test="ckpt='logs/Last_Epoch100.pth'"))).config
    arch = {"embed_dims": 24, "num_layers": 2, "num_heads": 2, "feedforward_channels": 48}
    init_cfg = [{"type": "Kaiming", "layer": "Conv2d", "mode": "fan_in", "nonlinearity": "linear"}]
    assert config.model == {
        "type": "ImageClassifier",
        "backbone": {
            "type": "VisionTransformer",
            "arch": arch,
            "img_size": 224,
            "patch_size": 16,
            "drop_rate": 0.1,
            "init_cfg": init_cfg,
        },
        "neck": None,
        "head": {"type": "VisionTransformerClsHead", "num_classes": 5, "in_channels": 24, "hidden_dim": 32},
    }
    assert config.data_preprocessor == {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375], "to_rgb": True}
    assert config.load_from == "logs/Last_Epoch100.pth"
    assert [step["type"] for step in config.test_pipeline] == ["LoadImageFromFile", "ResizeEdge", "CenterCrop", "PackInputs"]


@pytest.mark.parametrize(
    ("backbone", "expected"),
    [
        (
            "type='BEiT', arch='base', avg_token=True, output_cls_token=False",
            {"type": "BEiTViT", "arch": "base", "out_type": "avg_featmap"},
        ),
        ("type='BEiT', arch='base', avg_token=False", {"type": "BEiTViT", "arch": "base", "out_type": "featmap"}),
        ("type='VisionTransformer', avg_token=True", {"type": "VisionTransformer", "out_type": "cls_token"}),
        ("type='VisionTransformer', output_cls_token=False", {"type": "VisionTransformer", "out_type": "featmap"}),
        (
            "type='DeiT3', arch='s', output_cls_token=False, avg_token=True, with_cls_token=False",
            {"type": "DeiT3", "arch": "s", "with_cls_token": False, "out_type": "avg_featmap"},
        ),
        ("type='ResNetV1d', depth=50, style='pytorch'", {"type": "ResNetV1d", "depth": 50, "style": "pytorch"}),
    ],
)
def test_what_a_transformer_gives_its_head_is_one_word_in_mmpretrain(config_file: Write, backbone: str, expected: dict[str, Any]) -> None:
    model = f"dict(type='ImageClassifier', backbone=dict({backbone}), head=dict(type='LinearClsHead', num_classes=5, in_channels=8))"
    assert load_config(config_file(text(model))).config.model.backbone == expected


def test_necks_in_a_row_stay_in_a_row(config_file: Write) -> None:
    necks = "neck=[dict(type='HRFuseScales', in_channels=(18, 36, 72, 144)), dict(type='GlobalAveragePooling')]"
    path = config_file(text(MOBILENET.replace("neck=dict(type='GlobalAveragePooling')", necks)))
    assert [neck.type for neck in load_config(path).config.model.neck] == ["HRFuseScales", "GlobalAveragePooling"]


def test_options_are_spelt_as_the_config_is(config_file: Write) -> None:
    path = config_file(text())
    config = load_config(path, {"model_cfg.head.num_classes": 7, "val_pipeline.1.size": 96, "data_cfg.test.ckpt": "a.pth"}).config
    assert (config.model.head.num_classes, config.test_pipeline[1].scale, config.load_from) == (7, (96, 96), "a.pth")
    config = load_config(path, {"load_from": "b.pth", "data_preprocessor.to_rgb": False, "cam.method": "layercam"}).config
    assert (config.load_from, config.data_preprocessor.to_rgb, config.cam.method) == ("b.pth", False, "layercam")
    assert config.data_preprocessor.mean == [123.675, 116.28, 103.53]
    with pytest.raises(ConfigError, match=r"the config has no 'val_pipelin'; closest: 'val_pipeline'"):
        load_config(path, {"val_pipelin.1.size": 96})


def test_what_the_error_about_a_head_of_another_size_tells_to_set_can_be_set(config_file: Write, saved: Save) -> None:
    state = load_network(load_config(config_file(text())), random_weights=True).model.state_dict()
    path = config_file(text(MOBILENET.replace("num_classes=5", "num_classes=7"), test=f"ckpt='{saved(trained(state))}'"))
    with pytest.raises(CheckpointError, match=r"The checkpoint has 5 classes; try --cfg-options model\.head\.num_classes=5"):
        load_network(load_config(path))
    assert load_network(load_config(path, {"model.head.num_classes": 5})).checkpoint is not None


def test_a_config_with_a_model_is_not_of_this_form(config_file: Write) -> None:
    assert load_config(config_file(SMALL + "model_cfg = 3\n")).config.model.backbone.type == "ResNet"


# weights


def _norm(name: str) -> set[str]:
    return {f"{name}.weight", f"{name}.bias"}


def _batch_norm(name: str) -> set[str]:
    return _norm(name) | {f"{name}.{buffer}" for buffer in ("running_mean", "running_var", "num_batches_tracked")}


def _conv_module(name: str) -> set[str]:
    return {f"{name}.conv.weight"} | _batch_norm(f"{name}.bn")


def _block(name: str, norm: str, attention: str, *, qkv_bias: bool = True) -> set[str]:
    keys = _norm(f"{name}.{norm}1") | _norm(f"{name}.{norm}2") | _norm(f"{name}.{attention}.proj") | {f"{name}.{attention}.qkv.weight"}
    keys |= _norm(f"{name}.ffn.layers.0.0") | _norm(f"{name}.ffn.layers.1")
    return keys | ({f"{name}.{attention}.qkv.bias"} if qkv_bias else set())


def _mobilenet() -> set[str]:
    keys = _conv_module("backbone.layer0") | _conv_module("backbone.layer12") | _norm("head.layers.0.fc") | _norm("head.layers.1.fc")
    for layer in range(1, 12):
        convolutions = ("depthwise_conv", "linear_conv") if layer == 1 else ("expand_conv", "depthwise_conv", "linear_conv")
        keys |= {key for name in convolutions for key in _conv_module(f"backbone.layer{layer}.{name}")}
        if layer not in (2, 3):
            keys |= {key for name in ("conv1", "conv2") for key in _norm(f"backbone.layer{layer}.se.{name}.conv")}
    return keys


def _swin() -> set[str]:
    keys = _norm("backbone.patch_embed.projection") | _norm("backbone.patch_embed.norm") | _norm("backbone.norm3") | _norm("head.fc")
    for stage, depth in enumerate((1, 2, 1, 1)):
        for block in (f"backbone.stages.{stage}.blocks.{count}" for count in range(depth)):
            keys |= _block(block, "norm", "attn.w_msa")
            keys |= {f"{block}.attn.w_msa.relative_position_{kind}" for kind in ("bias_table", "index")}
        if stage < 3:
            keys |= _norm(f"backbone.stages.{stage}.downsample.norm") | {f"backbone.stages.{stage}.downsample.reduction.weight"}
    return keys


def _vit() -> set[str]:
    keys = {"backbone.cls_token", "backbone.pos_embed"} | _norm("backbone.patch_embed.projection") | _norm("backbone.ln1")
    keys |= _norm("head.layers.pre_logits") | _norm("head.layers.head")
    return keys | _block("backbone.layers.0", "ln", "attn") | _block("backbone.layers.1", "ln", "attn")


def _t2t() -> set[str]:
    keys = {"backbone.cls_token", "backbone.pos_embed"} | _norm("backbone.tokens_to_token.project") | _norm("backbone.norm")
    names = ("tokens_to_token.attention1", "tokens_to_token.attention2", "encoder.0", "encoder.1")
    return keys | _norm("head.layers.head") | {key for name in names for key in _block(f"backbone.{name}", "ln", "attn", qkv_bias=False)}


@pytest.mark.parametrize(("family", "keys"), list(zip(FAMILIES, (_mobilenet(), _swin(), _vit(), _t2t()), strict=True)), ids=FAMILIES)
def test_what_their_trainer_saves_lands_under_the_same_names(config_file: Write, saved: Save, family: str, keys: set[str]) -> None:
    # The names are those of their sources. Warnings are errors here: nothing is missing, nothing left over.
    loaded = load_config(config_file(text(FAMILIES[family])))
    state = load_network(loaded, random_weights=True, seed=3).model.state_dict()
    assert state.keys() == keys
    path = config_file(text(FAMILIES[family], test=f"ckpt='{saved(trained(state))}'"))
    network = load_network(load_config(path))
    assert all(torch.equal(value, state[key]) for key, value in network.model.state_dict().items())


def test_no_checkpoint_and_one_that_is_not_there_are_named(config_file: Write) -> None:
    with pytest.raises(CheckpointError, match=r"config\.py' names no checkpoint\. Give one as the third argument"):
        load_network(load_config(config_file(text(test="ckpt=''"))))
    with pytest.raises(CheckpointError, match=r"names no checkpoint"):
        load_network(load_config(config_file(text().replace("ckpt='', ", ""))))
    with pytest.raises(CheckpointError, match=r"No checkpoint 'datas/nothing\.pth'"):
        load_network(load_config(config_file(text(test="ckpt='datas/nothing.pth'"))))


# class names


def _names(path: str) -> tuple[list[str] | None, str]:
    return load_network(load_config(path), random_weights=True).class_names(5)


def test_the_recipe_names_its_classes() -> None:
    assert _names(RECIPE) == (FLOWERS, "")


def test_names_come_from_the_annotations_where_their_tools_look(
    config_file: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = config_file(text())
    assert _names(path) == (None, "neither checkpoint nor dataset names the classes: indices are shown")

    (tmp_path / "datas").mkdir()
    annotations = tmp_path / "datas/annotations.txt"
    annotations.write_text('"tulips,tulipa" 4\nroses 2\ndaisy 0\ndandelion 1\n\n向日葵 3\n', encoding="utf-8")
    assert _names(path) == (["daisy", "dandelion", "roses", "向日葵", "tulips,tulipa"], "")
    annotations.rename(tmp_path / "flowers.txt")
    assert _names(config_file(text(test="classes='flowers.txt'"), "flowers.py"))[0] is not None

    for wrong in ("daisy\nroses\n", "daisy 0\nroses one\n", "daisy 1\nroses 2\n", "daisy 0\nroses 0\n"):
        annotations.write_text(wrong)
        with pytest.raises(ConfigError, match=r"'datas/annotations\.txt' must name each class once, in lines of 'name index' from index 0"):
            load_config(path)


# what cannot be translated


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("['MobileNetV3']", r"'model_cfg' must be a dict with backbone, neck and head, got \['MobileNetV3'\]"),
        ("None", "'model_cfg' must be a dict with backbone, neck and head, got None"),
        (MOBILENET.replace("MobileNetV3'", "MobilNetV3'"), r"unknown backbone 'MobilNetV3'; closest: 'MobileNetV3'"),
        (MOBILENET.replace("GlobalAveragePooling", "GlobalAvgPooling"), "unknown neck 'GlobalAvgPooling'; closest: 'GlobalAveragePooling'"),
        (SWIN.replace("LinearClsHead", "LinerClsHead"), "unknown head 'LinerClsHead'; closest: 'LinearClsHead'"),
        (MOBILENET.replace("arch=", "topk=(1,), arch="), "backbone MobileNetV3 has no argument 'topk'"),
        (MOBILENET.replace("head=dict(", "head=[dict(")[:-1] + "])", r"model_cfg\.head must be a dict with 'type', got \[\{"),
        (MOBILENET.replace("arch=", "archi="), "backbone MobileNetV3 has no argument 'archi'; closest: 'arch'"),
        (SWIN.replace("in_channels=96", "in_chanels=96"), "head LinearClsHead has no argument 'in_chanels'; closest: 'in_channels'"),
        (T2T.replace("t2t_cfg", "t2t"), "backbone T2T_ViT has no argument 't2t'"),
        (VIT.replace("neck=None", "nek=None"), "'model_cfg' has a key 'nek'; closest: 'neck'"),
        ("dict(backbone=dict(type='LeNet5', num_classes=5), head=None)", "'model_cfg' has no head"),
        ("dict(head=dict(type='ClsHead'))", "'model_cfg' has no backbone"),
        (MOBILENET.replace("type='MobileNetV3', ", ""), r"model_cfg\.backbone must be a dict with 'type', got \{'arch': 'small'\}"),
        ("dict(type='BYOL')", r"model_cfg\.type must be 'ImageClassifier', got 'BYOL'"),
    ],
)
def test_a_network_that_mmpretrain_does_not_have_is_named(config_file: Write, model: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"config\.py' of Awesome-Backbones cannot be translated to mmpretrain: .*{message}"):
        load_config(config_file(text(model)))


@pytest.mark.parametrize(
    ("pipeline", "message"),
    [
        ("'Resize'", "'val_pipeline' must be a list of dicts such as .*, got 'Resize'"),
        ("None", "'val_pipeline' must be a list of dicts"),
        ("['Resize']", "'val_pipeline' must be a list of dicts"),
        (f"[{FORMATTING}]", "'val_pipeline' must have one Normalize \\(mean, std, channel order\\), got 0"),
        (f"[{NORMALIZE}, {NORMALIZE}]", "must have one Normalize.*, got 2"),
        (f"[dict(type='Resise', size=224), {NORMALIZE}]", "unknown step 'Resise' in val_pipeline; closest: 'Resize'; expected one of Load"),
        (f"[dict(type='RandomFlip'), {NORMALIZE}]", "unknown step 'RandomFlip' in val_pipeline"),
        (f"[dict(type='CenterCrop', size=224), {NORMALIZE}]", "CenterCrop has no argument 'size'; closest: 'crop_size' in val_pipeline"),
        (f"[dict(type='Resize'), {NORMALIZE}]", "Resize needs 'size' in val_pipeline"),
        (f"[dict(type='Resize', size='224'), {NORMALIZE}]", r"size must be a whole number or \(height, width\), got '224'"),
        (f"[dict(type='Resize', size=(-1, 224)), {NORMALIZE}]", r"size must be a whole number or \(height, width\), got \(-1, 224\)"),
        (f"[dict(type='Resize', size=(0, -1)), {NORMALIZE}]", r"size must be a whole number or \(height, width\), got 0"),
        (
            f"[dict(type='Resize', size=8, interpolation='cubic'), {NORMALIZE}]",
            "interpolation='cubic' is not supported; closest: 'bicubic'",
        ),
        (
            f"[dict(type='Resize', size=8, backend='PIL'), {NORMALIZE}]",
            "backend='PIL' is not supported; closest: 'pillow'; expected one of cv2, pillow",
        ),
        (f"[{NORMALIZE}, dict(type='Resize', size=224)]", "Resize after Normalize in val_pipeline; expected all resizing before it"),
        (
            "[dict(type='Normalize', mean=1, std=[1.0])]",
            "Normalize in val_pipeline: mean must be a list of numbers, one for each channel, got 1",
        ),
        (
            f"[dict(type='LoadImageFromFile', to_float32=True), {NORMALIZE}]",
            "LoadImageFromFile in val_pipeline: to_float32=True is not supported",
        ),
        (f"[dict(type='LoadImageFromFile', color_type='unchanged'), {NORMALIZE}]", "color_type='unchanged' is not supported; expected"),
        (
            f"[dict(type='CenterCrop', crop_size=(8, 9), efficientnet_style=True), {NORMALIZE}]",
            r"with efficientnet_style, crop_size must be a whole number, got \(8, 9\)",
        ),
        (
            "[dict(type='Resize', size=256), dict(type='ToTensor')]",
            "'val_pipeline' has transforms of torchvision, as early configs of Awesome-Backbones",
        ),
    ],
)
def test_a_step_that_has_no_counterpart_is_named(config_file: Write, pipeline: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(config_file(text(pipeline=pipeline)))


def test_all_that_cannot_be_translated_is_in_one_error(config_file: Write) -> None:
    path = config_file(text(MOBILENET.replace("MobileNetV3'", "MobilNetV3'"), "[dict(type='Resise')]") + "data_cfg = 3\n")
    with pytest.raises(ConfigError) as raised:
        load_config(path)
    for part in ("unknown backbone", "unknown step 'Resise'", "must have one Normalize", "'data_cfg' must be a dict, got 3"):
        assert part in str(raised.value)
