"""Configs as people write them: imports of the standard library, of a package's configs, paths beside the config, other tasks."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.config import config as reading
from mmengine.config import utils as parsing

from camtool.config.loading import load_config
from camtool.errors import ConfigError
from camtool.models import load_network

OWN = "model = dict(type='camtool.TorchModel', factory='net.py:build', preprocess=dict(resize=8))\n"
PIPELINE = "test_pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(32, 32)), dict(type='PackInputs')]\n"


def network(classes: int) -> str:
    return f"from torch import nn\ndef build(): return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, {classes}))\n"


def test_the_standard_library_is_imported_and_used_in_a_config(tmp_path: Path) -> None:
    (tmp_path / "c.py").write_text(
        "import os\nimport os.path as osp\nfrom math import floor\n"
        "model = dict(type='camtool.TorchvisionModel', name='squeezenet1_1', num_classes=floor(2.5) + len(os.sep))\n"
        "work_dir = osp.join('a', 'b')\n"
    )
    config = load_config(str(tmp_path / "c.py")).config
    assert config.model.num_classes == 3
    assert not {"os", "osp"} & set(config.keys())


def test_configs_of_a_package_are_read_as_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "camtool_test_package" / "configs").mkdir(parents=True)
    (tmp_path / "camtool_test_package" / "__init__.py").touch()
    base = tmp_path / "camtool_test_package" / "configs" / "base.py"
    base.write_text("model = dict(type='camtool.TorchvisionModel', name='resnet18')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "c.py").write_text(
        "import os\nfrom mmengine.config import read_base\n"
        "with read_base():\n    from camtool_test_package.configs.base import *\n"
        "model.update(num_classes=len(os.sep) + 2)\n"
    )
    model = load_config(str(tmp_path / "c.py")).config.model
    assert (model.name, model.num_classes) == ("resnet18", 3)

    (tmp_path / "d.py").write_text(
        "from mmengine.config import read_base\nwith read_base():\n    from camtool_no_such_package.configs.base import *\n"
    )
    with pytest.raises(ConfigError, match="based on one of the package 'camtool_no_such_package', which is not installed"):
        load_config(str(tmp_path / "d.py"))


def test_mmengine_is_as_it_was_afterwards(tmp_path: Path) -> None:
    def state() -> list[object]:
        names = ("get_installed_path", "is_installed", "_is_builtin_module")
        return [Config.__dict__["_get_cfg_path"], parsing._is_builtin_module, *(getattr(reading, name) for name in names)]

    before = state()
    (tmp_path / "c.py").write_text("import os\nraise ValueError(os.sep)\n")
    with pytest.raises(ConfigError):
        load_config(str(tmp_path / "c.py"))
    assert state() == before


def test_what_a_config_names_is_looked_for_beside_it_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "configs" / "weights").mkdir(parents=True)
    (tmp_path / "configs" / "c.py").write_text(f"{OWN}load_from = 'weights/w.pth'\n")
    (tmp_path / "configs" / "net.py").write_text(network(4))
    (tmp_path / "net.py").write_text(network(5))  # of the working directory, another's
    weights = {"2.weight": torch.ones(4, 3), "2.bias": torch.ones(4)}
    torch.save(weights, tmp_path / "configs" / "weights" / "w.pth")
    monkeypatch.chdir(tmp_path)

    for path in ("configs/c.py", str(tmp_path / "configs" / "c.py")):
        model = load_network(load_config(path)).model
        assert torch.equal(model[2].weight, weights["2.weight"])
    (tmp_path / "weights").mkdir()
    (tmp_path / "configs" / "weights" / "w.pth").rename(tmp_path / "weights" / "w.pth")
    assert load_network(load_config("configs/c.py")).keys is not None  # else relative to the working directory


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("default_scope = 'mmdet'\nmodel = dict(type='FasterRCNN')\n", r"is a config of mmdet, for detectors \('FasterRCNN'\)"),
        ("default_scope = 'mmseg'\nmodel = dict(type='EncoderDecoder')\n", r"is a config of mmseg, for segmenters \('EncoderDecoder'\)"),
        ("model = dict(type='MAE')\n", r"is a config of self-supervised pre-training \(MAE\), which has no classes"),
        ("_base_ = 'mmdet::retinanet/x.py'\n", "mmdet is not installed"),
    ],
)
def test_configs_of_other_tasks_are_named_as_what_they_are(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "c.py").write_text(content)
    with pytest.raises(ConfigError, match=said) as caught:
        load_network(load_config(str(tmp_path / "c.py")), random_weights=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("scope", ["mmdet", "mmseg"])
def test_names_of_other_libraries_are_named_as_what_they_are(scope: str) -> None:
    with pytest.raises(ConfigError, match=rf"'{scope}::a/b\.py' is a config of {scope}, for .*Expected a classifier"):
        load_config(f"{scope}::a/b.py")


def test_classifiers_of_timm_and_transformers_inside_mmpretrain_are_explained(tmp_path: Path) -> None:
    from camtool import Explainer

    models = ["dict(type='TimmClassifier', model_name='test_resnet', num_classes=4, pretrained=False)"]
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "image_size": 32}
    transformers.ViTConfig(**sizes, patch_size=8, num_labels=4, architectures=["ViTForImageClassification"]).save_pretrained(tmp_path)
    models.append(f"dict(type='HuggingFaceClassifier', model_name={str(tmp_path)!r}, pretrained=False)")
    for model in models:
        (tmp_path / "c.py").write_text(f"model = {model}\n{PIPELINE}")
        explanation = Explainer(tmp_path / "c.py", random_weights=True)(torch.rand(3, 32, 32))
        assert explanation.answer.logits.shape == (1, 4)
        assert explanation.results["gradcam"].maps.shape == (1, 1, 32, 32)
