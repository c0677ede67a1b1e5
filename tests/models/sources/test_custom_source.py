"""Networks of one's own: a factory by module or file, its inputs, its preprocessing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from camtool.config.loading import load_config
from camtool.errors import CheckpointError, ConfigError
from camtool.instrumentation.inputs import find_inputs
from camtool.io.images import read_picture
from camtool.models import load_network

CAT = Path(__file__).resolve().parents[3] / "demo/cat.jpg"
NETWORK = """
import dataclasses

import torch
from torch import nn

from helper import WIDTH


@dataclasses.dataclass
class Settings:
    width: int = WIDTH


class Pooled(nn.Module):
    def __init__(self, classes=3, settings=Settings()):
        super().__init__()
        self.features = nn.Conv2d(3, settings.width, 3)
        self.head = nn.Linear(settings.width, classes)

    def forward(self, picture, *others, **named):
        return self.head(self.features(picture).mean(dim=(2, 3)))


def build(**arguments):
    return Pooled(**arguments)


def halves(image):
    return torch.full((3, 8, 8), 0.5) if image.mode == 'RGB' else None


def nothing():
    return 'no module'


def leaving():
    raise SystemExit(3)


def broken():
    raise RuntimeError('out of\\nmemory')
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a network's code; modules that it imports are forgotten afterwards."""
    (tmp_path / "network.py").write_text(NETWORK)
    (tmp_path / "helper.py").write_text("WIDTH = 4\n")
    (tmp_path / "package").mkdir()
    (tmp_path / "package/__init__.py").touch()
    (tmp_path / "package/inner.py").write_text("from network import Pooled, build\n")
    monkeypatch.chdir(tmp_path)
    import sys

    for name in ("network", "helper", "package", "package.inner", "camtool_factory_network"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def configure(folder: Path, **model: Any) -> str:
    model = {"type": "camtool.TorchModel", "factory": "network:build", "preprocess": {"resize": 16, "crop": 16}, **model}
    (folder / "config.py").write_text(f"model = {model!r}\n")
    return str(folder / "config.py")


@pytest.mark.parametrize(
    "factory", ["network:build", "network:Pooled", "package.inner:build", "network.py:build", "{folder}/network.py:build"]
)
@pytest.mark.parametrize("form", ["plain", "state_dict", "safetensors"])
def test_a_factory_by_module_or_file_gets_the_weights(folder: Path, saved: Callable[..., str], factory: str, form: str) -> None:
    config = load_config(configure(folder, factory=factory.format(folder=folder)))
    state = {key: value + 1 for key, value in load_network(config, random_weights=True).model.state_dict().items()}
    if form == "safetensors":
        from safetensors.torch import save_file

        path = str(folder / "weights.safetensors")
        save_file(state, path)
    else:
        path = saved(state if form == "plain" else {"state_dict": state, "epoch": 3})
    network = load_network(config, path)
    for key, value in network.model.state_dict().items():
        assert torch.equal(value, state[key]), key
    assert network.preprocess(read_picture(CAT)).shape == (1, 3, 16, 16)


def test_a_file_beside_the_config_is_found_from_elsewhere(folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: Any) -> None:
    config = configure(folder, factory="network.py:build")
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert load_network(load_config(config), random_weights=True).model.head.out_features == 3


def test_the_path_of_modules_is_as_it_was(folder: Path) -> None:
    import sys

    before = list(sys.path)
    load_network(load_config(configure(folder, factory="network.py:build")), random_weights=True)
    assert sys.path == before


def test_arguments_names_and_multi_label_come_from_the_config(folder: Path) -> None:
    config = load_config(configure(folder, kwargs={"classes": 2}, classes=["a", "b"], multi_label=True))
    network = load_network(config, random_weights=True)
    assert network.model.head.out_features == 2
    assert network.class_names(2) == (["a", "b"], "")
    assert network.probabilities(torch.zeros(1, 2))[1] == "sigmoid"
    assert network.class_names(3)[1].startswith("the config names 2 classes, the network has 3")


def test_a_factory_that_brings_its_weights_needs_no_checkpoint(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="names no checkpoint"):
        load_network(load_config(configure(folder)))
    network = load_network(load_config(configure(folder, with_weights=True)))
    assert (network.checkpoint, network.digest) == ("the factory's own weights", None)
    torch.manual_seed(0)
    assert network.model.head.weight.abs().max() <= 0.5  # as nn.Linear(4, 3) draws them: nothing added


def test_the_preprocessing_can_be_a_function(folder: Path) -> None:
    network = load_network(load_config(configure(folder, preprocess="network:halves")), random_weights=True)
    assert torch.equal(network.preprocess(read_picture(CAT)), torch.full((1, 3, 8, 8), 0.5))


PICTURE = torch.zeros(1, 3, 16, 16)


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (["picture"], PICTURE),
        (["picture", [[0.5, 1]], 3], (PICTURE, torch.tensor([[0.5, 1.0]]), torch.tensor(3))),
        ({"picture": "picture", "age": [[7]]}, {"picture": PICTURE, "age": torch.tensor([[7]])}),
        ([{"image": "picture", "mask": [[True]]}], ({"image": PICTURE, "mask": torch.tensor([[True]])},)),
        (["picture", "prior.npy"], (PICTURE, torch.arange(3.0))),
        (["picture", ["prior.npy", "prior.npy"]], (PICTURE, (torch.arange(3.0), torch.arange(3.0)))),
    ],
)
def test_other_inputs_stand_beside_the_picture(folder: Path, inputs: Any, expected: Any) -> None:
    np.save(folder / "prior.npy", np.arange(3, dtype=np.float64))
    network = load_network(load_config(configure(folder, inputs=inputs)), random_weights=True)
    given = network.source.inputs(PICTURE)
    torch.testing.assert_close(given, expected)
    assert find_inputs(given, network.source.picture_input).picture.shape == PICTURE.shape


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"factory": None}, "'model.factory' of .* must be 'package.module:name' or 'path/to/file.py:name', got None"),
        ({"factory": "network"}, "must be 'package.module:name'"),
        ({"factory": "no_such:build"}, "'model.factory': cannot import 'no_such': ModuleNotFoundError"),
        ({"factory": "no_such.py:build"}, "'model.factory': cannot import 'no_such.py': FileNotFoundError"),
        ({"factory": "network:biuld"}, "'network' has no function or class 'biuld'; closest: 'build'"),
        ({"factory": "network:nothing"}, "must be a torch.nn.Module, got a str"),
        ({"factory": "network:leaving"}, "Cannot build the model of .*: SystemExit: 3"),
        ({"factory": "network:broken"}, "Cannot build the model of .*: RuntimeError: out of memory"),
        ({"kwargs": {"width": 3}}, "Cannot build the model of .*: TypeError.*width"),
        ({"kwargs": [3]}, r"'model.kwargs' of .* must be a dict, got \[3\]"),
        ({"preproces": {}}, "'model' of .* has no key 'preproces'; closest: 'preprocess'"),
        ({"preprocess": None}, r"needs 'preprocess', such as dict\(resize=256"),
        ({"preprocess": "network:gone"}, "'model.preprocess': 'network' has no function or class 'gone'"),
        ({"classes": 3}, "'model.classes' of .* must be a list of names, got 3"),
        ({"multi_label": "yes"}, "'model.multi_label' of .* must be True or False, got 'yes'"),
        ({"inputs": "picture"}, "'model.inputs' must be a list or a dict that contains 'picture'"),
        ({"inputs": [[1.0]]}, "'model.inputs' must contain 'picture' exactly once"),
        ({"inputs": ["picture", "picture"]}, "'model.inputs' must contain 'picture' exactly once"),
        (
            {"inputs": ["picture", "gone.npy"]},
            "'model.inputs': expected 'picture', numbers, lists of numbers or a .npy file, got 'gone.npy'",
        ),
        ({"inputs": ["picture", [[1.0], [1.0, 2.0]]]}, "'model.inputs': expected 'picture', numbers"),
        ({"inputs": ["picture", None]}, "'model.inputs': expected 'picture', numbers"),
    ],
)
def test_what_is_wrong_is_said(folder: Path, model: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_network(load_config(configure(folder, **model)), random_weights=True)


def test_code_that_fails_is_named_with_what_it_raised(folder: Path) -> None:
    (folder / "helper.py").write_text("WIDTH = 1 / 0\n")
    with pytest.raises(ConfigError, match=r"'model.factory': cannot import 'network': ZeroDivisionError: division by zero"):
        load_network(load_config(configure(folder)), random_weights=True)


def test_a_type_that_camtool_does_not_have_is_said(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"Unknown model type 'camtool\.TorchModle'; closest: 'camtool\.TorchModel'"):
        load_network(load_config(configure(folder, type="camtool.TorchModle")), random_weights=True)


def test_a_config_that_comes_with_camtool_names_a_file_beside_the_configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo/colours.py").write_text("raise RuntimeError('another program of that name')")

    assert type(load_network(load_config("colours")).model).__name__ == "Colours"
