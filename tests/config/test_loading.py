from collections.abc import Callable
from pathlib import Path

import pytest

from camtool.config import loading
from camtool.config.loading import load_config
from camtool.errors import ConfigError
from tests.models.fixtures import LITE0, ROOT, SMALL

Write = Callable[..., str]
RESNET50 = "resnet/resnet50_8xb32_in1k.py"


def test_a_path_is_read_with_its_recipe() -> None:
    loaded = load_config(LITE0)
    assert loaded.config.model.backbone.model_name == "tf_efficientnet_lite0"
    assert list(loaded.cam) == ["checkpoint_keys"]
    assert loaded.zoo_weights is None


def test_a_shipped_config_is_read_by_its_scope() -> None:
    loaded = load_config(f"mmpretrain::{RESNET50}")
    assert loaded.config.model.backbone.depth == 50
    assert loaded.cam == {}
    assert loaded.zoo_weights is None


@pytest.mark.parametrize("name", ["resnet50_8xb32_in1k", "ResNet50_8xB32_IN1K"])
def test_a_zoo_name_is_found_in_any_case_with_its_weights(name: str) -> None:
    loaded = load_config(name)
    assert loaded.config.model.backbone.depth == 50
    assert loaded.zoo_weights is not None
    assert loaded.zoo_weights.startswith("https://download.openmmlab.com/mmclassification/v0/resnet/resnet50_8xb32_in1k")


def test_a_users_config_inherits_from_a_shipped_one(config_file: Write) -> None:
    # mmengine resolves this through pkg_resources, which setuptools 82 dropped.
    path = config_file(f"_base_ = 'mmpretrain::{RESNET50}'\nmodel = dict(head=dict(num_classes=7))\n")
    loaded = load_config(path)
    assert (loaded.config.model.backbone.depth, loaded.config.model.head.num_classes) == (50, 7)
    assert len(loading.find_test_pipeline(loaded.config)) == 4


def test_mmengines_own_lookup_is_put_back(config_file: Write) -> None:
    from mmengine.config import Config

    before = Config.__dict__["_get_cfg_path"]
    load_config(LITE0)
    with pytest.raises(ConfigError):
        load_config(config_file("1 / 0"))
    assert Config.__dict__["_get_cfg_path"] is before


def test_a_config_with_a_relative_base_is_read(config_file: Write) -> None:
    config_file(SMALL, "base.py")
    assert load_config(config_file("_base_ = './base.py'\nmodel = dict(backbone=dict(depth=34))")).config.model.backbone.depth == 34


def test_options_reach_nested_values_and_list_items() -> None:
    options = {
        "model.head.num_classes": 10,
        "test_dataloader.dataset.pipeline.1.scale": 300,
        "data_preprocessor.mean": [1.0, 2.0, 3.0],
        "model.backbone.checkpoint_path": "a.pth",
        "load_from": "b.pth",
        "cam.target_layers": ["backbone"],
    }
    config = load_config(LITE0, options).config
    assert config.model.head == {"type": "LinearClsHead", "num_classes": 10, "in_channels": 1280}
    assert [step.get("scale") for step in loading.find_test_pipeline(config)] == [None, 300, None, None]
    assert config.data_preprocessor.mean == [1.0, 2.0, 3.0]
    assert config.model.backbone.checkpoint_path == "a.pth"
    assert config.load_from == "b.pth"
    assert config.cam.target_layers == ["backbone"]
    assert len(config.cam.checkpoint_keys) > 5  # merged, not replaced


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modle.head.num_classes": 10}, r"--cfg-options modle\.head\.num_classes: the config has no 'modle'; closest: 'model'"),
        ({"test_dataloader.dataset.pipeline.9.scale": 3}, "Cannot apply --cfg-options to .*Index 9 exceeds the length of list"),
        ({"model.head.num_classes.deeper": 3}, "Cannot apply --cfg-options to .*num_classes"),
        ({"cam.metod": "gradcam"}, r"'cam' of config .* has no key 'metod'; closest: 'method'; expected method, target_layers, layout"),
        ({"model": 3}, "has no 'model'"),
    ],
)
def test_a_wrong_option_is_named(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(LITE0, options)


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "efficientnet-lite0_in1k.py").write_text(SMALL)
    with pytest.raises(
        ConfigError, match=r"No config '.*lite1_in1k\.py'; closest: '.*/efficientnet-lite0_in1k\.py'; expected a file, 'mmpretr"
    ):
        load_config(str(tmp_path / "efficientnet-lite1_in1k.py"))


def test_a_misspelt_folder_names_the_nearest_file() -> None:
    with pytest.raises(ConfigError, match=r"closest: '.*/efficientnet_lite/efficientnet-lite0_in1k\.py'"):
        load_config(str(ROOT / "configs/eficientnet_lite/efficientnet-lite0_in1k.py"))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (str(ROOT / "configs"), r"configs' is a directory; expected a \.py file in it; closest: '.*\.py'"),
        ("resnet50_8xb32_in1", "No config file and no model of the zoo is called 'resnet50_8xb32_in1'; closest: 'resnet50_8xb32_in1k'"),
        (
            "mmpretrain::resnet/resnet5_8xb32_in1k.py",
            r"mmpretrain ships no config 'resnet/resnet5_.*; closest: 'resnet/resnet50_8xb32_in1k\.py'",
        ),
        ("other::yolo.py", "unknown scope 'other'; expected 'camtool::' or 'mmpretrain::'"),
        ("x" * 300 + ".py", "No config 'xxx"),
    ],
    ids=["directory", "zoo name", "shipped", "another scope", "name too long"],
)
def test_what_is_not_there_is_named_with_what_is_near(source: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(source)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = 1\nmodel = dict(\n", r"Syntax error in config '.*config\.py', line 2: '\(' was never closed"),
        ("model = dict()\nraise RuntimeError('no data here')", r"Cannot read config '.*config\.py': RuntimeError: no data here"),
        ("model = dict(depth=1 / 0)", "ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit(3)", "Cannot read config .*: SystemExit: 3"),
        ("_base_ = './nothing.py'", r"FileNotFoundError: .*nothing\.py"),
        ("_base_ = 'mmpretrain::resnet/resnet5_8xb32_in1k.py'", r"closest: 'resnet/resnet50_8xb32_in1k\.py'"),
        ("backbone = dict(type='ResNet')", "has no 'model'; expected an OpenMMLab config of a classifier"),
        ("model = 'resnet50'", "has no 'model'"),
        ("", "has no 'model'"),
        ("model = dict(type='ImageClassifier')\ncam = 'gradcam'", "'cam' of config .* must be a dict, got str"),
        ("model = dict(type='ImageClassifier')\ncam = dict(target_layer=['a'])", "has no key 'target_layer'; closest: 'target_layers'"),
        (
            "model = dict(type='ImageClassifier')\ncam = dict(aug_smooth='yes')",
            r"'cam\.aug_smooth' of config .* must be True or False, got 'yes'",
        ),
    ],
)
def test_a_config_that_cannot_serve_says_why(config_file: Write, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(config_file(text))


def test_a_syntax_error_in_a_base_is_not_blamed_on_the_config(config_file: Write) -> None:
    config_file("a = 1\nb = (\n", "base.py")
    with pytest.raises(ConfigError, match=r"Syntax error in a _base_ file of config '.*config\.py', line 2"):
        load_config(config_file("_base_ = './base.py'"))


def test_a_file_that_is_no_config_is_refused(tmp_path: Path) -> None:
    for name, content in (("weights.pth", b"PK\x03\x04"), ("binary.py", b"\xff\xfe\x00a")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ConfigError, match=f"Cannot read config '.*{name}'"):
            load_config(str(tmp_path / name))


def test_the_test_pipeline_is_found_where_configs_keep_it(config_file: Write) -> None:
    model = "model = dict(type='ImageClassifier')\n"
    step = "[dict(type='PackInputs')]"
    for text in (
        f"test_dataloader = dict(dataset=dict(type='ImageNet', pipeline={step}))",
        f"test_dataloader = dict(dataset=dict(type='RepeatDataset', dataset=dict(type='ImageNet', pipeline={step})))",
        f"val_dataloader = dict(dataset=dict(type='ImageNet', pipeline={step}))",
        f"test_pipeline = {step}",
    ):
        config = load_config(config_file(model + text)).config
        assert loading.find_test_pipeline(config) == [{"type": "PackInputs"}], text
        assert (loading.find_test_dataset(config) or {}).get("type") == ("ImageNet" if "ImageNet" in text else None), text


def test_a_config_without_a_test_pipeline_says_where_it_is_expected(config_file: Write) -> None:
    loaded = load_config(config_file("model = dict(type='ImageClassifier')"))
    with pytest.raises(ConfigError, match=r"no test pipeline; expected 'test_dataloader\.dataset\.pipeline' or 'test_pipeline'"):
        loading.find_test_pipeline(loaded.config)
