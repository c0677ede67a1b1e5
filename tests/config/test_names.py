"""Names in the place of a path: camtool's own configs, the zoo's models, and what is refused."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from camtool.config.loading import load_config
from camtool.config.names import find_named, names_elsewhere, zoo_models
from camtool.config.shipped import SHARED, is_name, own_names, scoped_file, shipped_file, shipped_root
from camtool.config.yaml_config import load_either
from camtool.errors import ConfigError
from tests.models.fixtures import LITE0, ROOT

CONFIGS = sorted(path for path in (ROOT / "configs").glob("*/*") if path.suffix in (".py", ".yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_name_is_as_good_as_the_path(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_path = load_either(str(path))
    monkeypatch.chdir(tmp_path)  # no clone here
    (name,) = [name for name, file in own_names().items() if file == path]

    by_name = load_either(name)

    assert by_name.config.to_dict() == by_path.config.to_dict()
    assert by_name.config.filename == by_path.config.filename
    assert by_name.name == name


def test_a_name_is_the_files_stem_where_no_other_has_it() -> None:
    of_both = {f"camtool::{family}/resnet50.py" for family in ("timm", "torchvision")}
    of_libraries = {"camtool::awesome_backbones/mobilenet_v3_small.py"}
    assert {name for name in own_names() if "::" in name} == of_both | of_libraries
    assert {name for name in own_names() if "::" not in name} == {path.stem for path in CONFIGS} - {"resnet50", "mobilenet_v3_small"}


@pytest.mark.parametrize("name", ["efficientnet-lite0_in1k", "EfficientNet-Lite0_IN1K", "REPVGG-a0_8xb32_in1k"])
def test_a_name_is_found_in_any_case(name: str) -> None:
    path = shipped_file(name)
    assert path is not None
    assert path.stem.casefold() == name.casefold()


def test_an_own_config_comes_before_the_zoos_of_its_name() -> None:
    loaded = load_config("vgg16_8xb32_in1k")
    assert loaded.config.filename == str(ROOT / "configs/vgg/vgg16_8xb32_in1k.py")
    assert "target_layers" in loaded.cam  # what the zoo's has not
    assert loaded.config.load_from == loaded.zoo_weights == zoo_models()["vgg16_8xb32_in1k"]


def test_a_name_of_the_zoo_is_found_in_any_case_with_its_weights() -> None:
    path, weights = find_named("ResNet34_8xB32_in1k")
    assert path.as_posix().endswith("mmpretrain/.mim/configs/resnet/resnet34_8xb32_in1k.py")
    assert weights == zoo_models()["resnet34_8xb32_in1k"]
    assert str(weights).startswith("https://")


@pytest.mark.parametrize("name", ["resnet50", "ResNet50"])
def test_a_name_of_several_is_refused_with_what_to_type(name: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_config(name)

    said, _, of_zoo = str(raised.value).partition(" Trained by mmpretrain on ImageNet: ")
    assert said == (
        f"'{name}' is the name of several models; type one of 'timm/resnet50', 'torchvision/resnet50', "
        "'camtool::timm/resnet50.py', 'camtool::torchvision/resnet50.py'."
    )
    assert of_zoo.startswith("'resnet50_8xb32_in1k', ")
    timm, torchvision, own, of_first_weights = (load_config(choice).config.model for choice in said.split("'")[3::2])
    assert (timm.name, torchvision.name, own.name, of_first_weights.weights) == (
        "resnet50",
        "resnet50",
        "resnet50.a1_in1k",
        "IMAGENET1K_V1",
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "mobilenet_v3_small",
            "'mobilenet_v3_small' is the name of several models; type one of 'torchvision/mobilenet_v3_small', "
            "'camtool::awesome_backbones/mobilenet_v3_small.py'.",
        ),
        ("resnet18", "'resnet18' is the name of several models; type one of 'timm/resnet18', 'torchvision/resnet18'."),
        (
            "VIT_tiny_patch16_224",
            "No config file and no model of the zoo is called 'VIT_tiny_patch16_224', but there is 'timm/vit_tiny_patch16_224'; type that.",
        ),
        (
            "eficientnet-lite0_in1k",
            "No config file and no model of the zoo is called 'eficientnet-lite0_in1k'; closest: 'efficientnet-lite0_in1k', "
            "'efficientnet-b0_8xb32_in1k', 'efficientnetv2-l_3rdparty_in1k'; 'camtool models' lists the names.",
        ),
        ("*lite0*", "No config file and no model of the zoo is called '*lite0*'; 'camtool models' lists the names."),
        ("", "Expected a config, got ''."),
        ("folder", "Config 'folder' is a directory; expected a .py file in it."),
        (
            "configs/efficientnet_lite/EfficientNet-lite0_in1k.py",
            "No config 'configs/efficientnet_lite/EfficientNet-lite0_in1k.py'; expected a file, 'mmpretrain::family/name.py', 'timm/NAME', "
            "'torchvision/NAME', 'hf/NAME' or a name that 'camtool models' lists. 'efficientnet-lite0_in1k' comes with camtool: its name "
            "alone is enough.",
        ),
        ("camtool::timm/resnet5.py", "camtool ships no config 'timm/resnet5.py'; closest: 'timm/resnet50.py', 'torchvision/resnet50.py', "),
        (
            "camtool::resnet_cam/cam_confg.yaml",
            "camtool ships no config 'resnet_cam/cam_confg.yaml'; closest: 'resnet_cam/cam_config.yaml'",
        ),
        ("camtol::timm/resnet50.py", "Cannot read config 'camtol::timm/resnet50.py': unknown scope 'camtol'; expected 'camtool::'"),
    ],
)
def test_what_is_no_name_is_refused_with_what_to_type(name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for load in (load_config, load_either):
        with pytest.raises(ConfigError) as raised:
            load(name)
        assert str(raised.value).startswith(message)


def test_a_file_comes_before_a_name_and_a_name_before_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "efficientnet-lite0_in1k").mkdir()
    assert load_config("efficientnet-lite0_in1k").config.filename == LITE0
    (tmp_path / "cnn_tiny_shapes").touch()
    assert shipped_file("cnn_tiny_shapes") is None
    with pytest.raises(ConfigError, match="Cannot read config 'cnn_tiny_shapes'"):
        load_config("cnn_tiny_shapes")


@pytest.mark.parametrize("source", ["a/b", "a.py", "a.YAML", "./a", "a/", "mmpretrain::a", ""])
def test_a_path_is_no_name(source: str) -> None:
    assert not is_name(source)
    assert is_name("a.b-c_1")


def test_a_config_of_ones_own_inherits_from_camtools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text("_base_ = 'camtool::shapes/cnn_tiny_shapes.py'\nmodel = dict(head=dict(num_classes=9))\n")
    model = load_config("own.py").config.model
    assert (model.backbone.type, model.head.num_classes) == ("camtool.ConvNet", 9)
    assert scoped_file("camtool::shapes/cnn_tiny_shapes.py") == shipped_root() / "shapes/cnn_tiny_shapes.py"


def test_no_name_is_another_network_elsewhere() -> None:
    # An own name is taken without a look at the zoo, and the zoo's without one at the libraries.
    elsewhere = {name.casefold() for source in ("timm", "torchvision") for name in names_elsewhere(source)}
    assert not elsewhere & {name.casefold() for name in zoo_models()}
    assert set(SHARED) == {path.stem for path in CONFIGS} & elsewhere - {"resnet50", "vit_small_patch16_224"}
    assert elsewhere & {name.casefold() for name in own_names()} == {"vit_small_patch16_224"}
    assert load_config("vit_small_patch16_224").config.model == load_config("timm/vit_small_patch16_224").config.model


def test_a_path_and_an_own_name_import_no_library_for_its_names(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom camtool.config.yaml_config import load_either\n"
        f"for source in ({str(LITE0)!r}, 'efficientnet-lite0_in1k', 'cam_config'):\n    load_either(source)\n"
        "print(sorted({'torchvision', 'timm', 'mmpretrain'} & sys.modules.keys()))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    finished = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert finished.stdout == "[]\n", finished.stderr
