"""Bad input: one readable message, exit code 2, nothing written."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.cli.fixtures import CAT, LAST, LITE0, ROOT, Finished, Run

_RECIPE = Path(LITE0).read_text()


def _refused(finished: Finished, folder: Path, *said: str) -> None:
    assert finished.exit_code == 2, finished.stderr
    assert finished.stderr.startswith("Error: ")
    assert finished.stderr.count("\n") == 1
    assert "Traceback" not in finished.stderr
    for text in said:
        assert text in finished.stderr
    assert not (folder / "outputs").exists()


def _file(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.jpg", b"", "is empty"),
        ("text.jpg", b"this is no picture", "is not an image; expected"),
        ("truncated.jpg", Path(CAT).read_bytes()[:9000], "truncated"),
    ],
)
def test_a_picture_that_cannot_be_read(run: Run, tmp_path: Path, name: str, content: bytes, said: str) -> None:
    _refused(run("vis", _file(tmp_path, name, content), LITE0), tmp_path, name, said)


def test_a_picture_that_does_not_exist_or_is_a_point(run: Run, tmp_path: Path) -> None:
    Image.new("RGB", (1, 1)).save(tmp_path / "one.png")

    _refused(run("vis", CAT.replace(".jpg", ".jpeg"), LITE0), tmp_path, "closest:", "cat.jpg")
    (tmp_path / "empty").mkdir()
    _refused(run("vis", tmp_path / "empty", LITE0), tmp_path, "No image in the folder", "expected files such as .jpg")
    _refused(run("vis", tmp_path / "one.png", LITE0), tmp_path, "1x1; expected at least 2 pixels")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("model = dict(\n    type=\n", "Syntax error in config"),
        ("answer = 42\n", "has no 'model'"),
        (_RECIPE.replace("TIMMBackbone", "TIMBackbone"), "unknown model type 'TIMBackbone'; closest: 'TIMMBackbone'"),
        (_RECIPE.replace("tf_efficientnet_lite0", "tf_efficientnet_light0"), "Cannot build the model"),
        (_RECIPE.replace("test_pipeline", "pipe").replace(", pipeline=pipe", ""), "has no test pipeline"),
        (_RECIPE.replace("ResizeEdge", "ResizeEgde"), "Unknown transform 'ResizeEgde'"),
        (_RECIPE.replace("checkpoint_keys=", "checkpoint_kyes="), "closest: 'checkpoint_keys'"),
        (_RECIPE.replace("cam = dict(", "cam = dict(method='gradkam',"), "closest: 'gradcam'"),
        (_RECIPE.replace("cam = dict(", "cam = dict(layout='Token',"), "Unknown layout 'Token'"),
        ("raise RuntimeError('on purpose')\n", "on purpose"),
        (_RECIPE.replace("cam = dict(", "cam = dict(method=3,"), "'cam.method' of config"),
        (_RECIPE.replace("cam = dict(", "cam = dict(target_layers=[3],"), "'cam.target_layers' of config"),
        (_RECIPE.replace("cam = dict(", "cam = dict(layout=3,"), "'cam.layout' of config"),
        (_RECIPE.replace("cam = dict(", "cam = dict(input_axes=4,"), "'cam.input_axes' of config"),
        (_RECIPE.replace("cam = dict(", "cam = dict(input_axes=['nchw'],"), "'cam.input_axes' of config"),
        (_RECIPE.replace("cam = dict(", "cam = dict(input_axes='chw',"), "got 'chw': no axis is the batch, n"),
        (_RECIPE.replace("cam = dict(", "cam = dict(input_axes='ntchw',"), "has the axes (n, t, c, h, w)"),
        (_RECIPE + "test_dataloader = 5\n", "'test_dataloader' of the config must be a dict"),
        (_RECIPE + "test_dataloader = dict(dataset=5)\n", "'test_dataloader.dataset' of the config must be a dict"),
        (_RECIPE + "test_dataloader = dict(dataset=dict(pipeline=['LoadImageFromFile']))\n", "must be a list of dicts"),
    ],
)
def test_a_config_that_does_not_work(run: Run, tmp_path: Path, content: str, said: str) -> None:
    _refused(run("vis", CAT, _file(tmp_path, "config.py", content)), tmp_path, said)


def test_a_misspelt_key_of_the_checkpoint_is_named_before_the_error(run: Run, tmp_path: Path) -> None:
    finished = run("vis", CAT, _file(tmp_path, "config.py", _RECIPE.replace("load_from", "load_form")))

    assert finished.exit_code == 2
    remark, error = finished.stderr.splitlines()
    assert "'load_form'" in remark
    assert "'load_from'" in remark
    assert error.startswith("Error: ")
    assert "names no checkpoint" in error


def test_a_config_that_does_not_exist(run: Run, tmp_path: Path) -> None:
    _refused(run("vis", CAT, LITE0.replace("_in1k", "")), tmp_path, "No config", "efficientnet-lite0_in1k.py")
    _refused(run("vis", CAT, "resnet51"), tmp_path, "no model of the zoo", "resnet50_8xb32_in1k")
    _refused(run("vis", CAT, "mmpretrain::resnet/resnet51.py"), tmp_path, "ships no config")


class _Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.path,)  # type: ignore[return-value]


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_that_tries_to_run_code_does_not_run(run: Run, tmp_path: Path, zipped: bool) -> None:
    trap = tmp_path / "sprung"
    torch.save({"state_dict": {}, "hook": _Trap(trap)}, tmp_path / "trap.pth", _use_new_zipfile_serialization=zipped)

    _refused(run("vis", CAT, LITE0, tmp_path / "trap.pth"), tmp_path, "trap.pth")
    assert not trap.exists()


def _saved(folder: Path, change: str) -> Path:
    from camtool.config.loading import load_config
    from camtool.models.loading import load_network

    state = load_network(load_config(LITE0)).model.state_dict()
    if change == "nan":
        state["head.fc.weight"][5] = torch.nan
    if change == "missing":
        del state["head.fc.bias"]
    if change == "head":
        state["head.fc.weight"], state["head.fc.bias"] = torch.zeros(10, 1280), torch.zeros(10)
    path = folder / "changed.pth"
    torch.save(state, path)
    return path


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("missing", ["Missing parameters: head.fc.bias", "1 missing", "0 unexpected"]),
        ("head", ["The checkpoint has 10 classes; try --cfg-options model.head.num_classes=10"]),
    ],
)
def test_a_checkpoint_of_another_network(run: Run, tmp_path: Path, change: str, said: list[str]) -> None:
    _refused(run("vis", CAT, LITE0, _saved(tmp_path, change)), tmp_path, *said)


def _saved_bytes(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (Path(CAT).read_bytes(), "not a PyTorch file"),
        (b"", "not a PyTorch file"),
        (_saved_bytes({"epoch": 1}), "contains no tensors"),
    ],
)
def test_a_checkpoint_that_is_none(run: Run, tmp_path: Path, content: bytes, said: str) -> None:
    _refused(run("vis", CAT, LITE0, _file(tmp_path, "foreign.pth", content)), tmp_path, said)


def test_a_truncated_and_a_missing_checkpoint(run: Run, tmp_path: Path) -> None:
    whole = _saved(tmp_path, "").read_bytes()

    _refused(run("vis", CAT, LITE0, _file(tmp_path, "half.pth", whole[: len(whole) // 2])), tmp_path, "half.pth", "truncated")
    _refused(run("vis", CAT, LITE0, "nowhere.pth"), tmp_path, "No checkpoint 'nowhere.pth'")


def test_weights_that_cannot_be_downloaded(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(url: str, *arguments: object, **keywords: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr("camtool.models.hub.unreachable", lambda _: "")
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    _refused(run("vis", CAT, "resnet18_8xb32_in1k"), tmp_path, "https://", "resnet18_8xb32_in1k", "CHECKPOINT", "--random-weights")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--method", "gradkam"], "closest: 'gradcam'"),
        (["--target-category", "crane"], "ambiguous; give one of the indices: 134 (crane), 517 (crane)"),
        (["--target-category", "tigr cat"], "closest: 'tiger cat'"),
        (["--target-category", "1000"], "out of range: the network has 1000 classes, 0 to 999"),
        (["--target-category", "-1"], "out of range"),
        (["--target-category", "1", "--top-k", "2"], "not both"),
        (["--target-layers", "backbone.timm_model.bn3"], "closest: 'backbone.timm_model.bn2'"),
        (["--target-layers", "__import__('os')"], "No layer '__import__('os')'"),
        (["--target-layers", "neck.gap"], "single position"),
        (["--target-layers", "head.fc"], "is not a map"),
        (["--target-layers", "head.loss_module"], "never called"),
        (["--target-layers", LAST, "--vit-like"], "is a CNN: its layers are maps already"),
        (["--vit-like"], "is a CNN: its layers are maps already"),
        (["--method", "cam", "--target-layers", "backbone.timm_model.blocks[5]"], "global average pooling"),
        (["--save-path", "picture.gif"], "expected .jpg"),
        (["--save-path", f"{CAT}/x.jpg"], "is a file, not a directory"),
        (["--save-raw", "arrays.txt"], ".npz"),
        (["--figure", "pannel"], "closest: 'panel'"),
        (["--colormap", "jett"], "closest: 'jet'"),
        (["--opacity", "1.5"], "between 0 and 1"),
        (["--opacity", "nan"], "between 0 and 1"),
        (["--device", "tpu9"], "Unknown device"),
        (["--cfg-options", "modle.head=1"], "closest: 'model'"),
        (["--cfg-options", "model.head.num_classes"], "KEY=VALUE"),
        (["--cfg-options", "cam.target={'type':'box','box':[1,2,3,4]}"], "the keys of a dict one by one: cam.target.KEY=VALUE"),
        (["--cfg-options", "cam.target=[dict(type='box')]"], "the keys of a dict one by one: cam.target.KEY=VALUE"),
        (["--target", "box"], "expected a dict, as in a config, of type, box, label"),
        (["--method", "cam", "fem", "--target-layers", "last-norm", LAST], "give it alone"),
        (["--num-extra-tokens", "-1"], "0 or more"),
        (["--save-path", "x" * 300], "Cannot write"),
        (["--save-path", "x" * 300 + ".png"], "Cannot write"),
    ],
)
def test_an_option_that_does_not_work(run: Run, tmp_path: Path, options: list[str], said: str) -> None:
    _refused(run("vis", CAT, LITE0, *options), tmp_path, said)


def test_scores_that_are_no_numbers_are_no_report(run: Run, tmp_path: Path) -> None:
    _refused(run("vis", CAT, LITE0, _saved(tmp_path, "nan"), "--method", "eigencam", "--json"), tmp_path, "scores are NaN")


@pytest.mark.parametrize(
    ("options", "said"),
    [(["--target-layers", "--method", "gradcam"], "'--target-layers' requires at least one value"), (["--seed", "-1"], "--seed")],
)
def test_an_option_that_cannot_be_parsed(run: Run, options: list[str], said: str) -> None:
    finished = run("vis", CAT, LITE0, *options)

    assert finished.exit_code == 2
    assert said in finished.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the device")
def test_a_device_that_is_not_there(run: Run, tmp_path: Path) -> None:
    _refused(run("vis", CAT, LITE0, "--device", "cuda"), tmp_path, "torch finds 0 CUDA devices")


def test_with_json_the_error_is_an_object_too(run: Run, tmp_path: Path) -> None:
    import json

    finished = run("vis", CAT, LITE0, "--method", "gradkam", "--json")

    assert finished.exit_code == 2
    assert "gradkam" in json.loads(finished.stdout)["error"]


def test_nothing_is_half_written_when_a_later_file_fails(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)

    finished = run("vis", CAT, LITE0, "--save-path", "x.png", "--save-raw", "x.npz")

    assert finished.exit_code == 2
    assert "No space left" in finished.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_defect_is_reported_as_one_with_exit_code_1(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> np.ndarray:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr("camtool.apis.images.read_picture", broken)

    finished = run("vis", CAT, LITE0)

    assert finished.exit_code == 1
    assert "planted" in finished.stderr
    assert "--debug" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_debug_shows_where(run: Run) -> None:
    finished = run("vis", CAT, LITE0, "--method", "gradkam", "--debug")

    assert finished.exit_code == 2
    assert "Traceback" in finished.stderr


def test_a_file_behind_standard_input_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "cat.jpg").write_bytes(Path(CAT).read_bytes())
    command = [sys.executable, str(ROOT / "tools/vis_cam.py"), "-", LITE0, "--random-weights", "--save-path", "cat.jpg"]
    with (tmp_path / "cat.jpg").open("rb") as file:
        finished = subprocess.run(command, cwd=tmp_path, stdin=file, capture_output=True, text=True, check=False, timeout=120)
    assert finished.returncode == 2, finished.stderr
    assert "would overwrite an image that is read" in finished.stderr
    assert (tmp_path / "cat.jpg").read_bytes() == Path(CAT).read_bytes()


def test_a_picture_of_many_pixels_is_refused_unless_they_are_allowed(run: Run, tmp_path: Path) -> None:
    refused = run("vis", CAT, LITE0, "--random-weights", "--max-pixels", "1000")
    _refused(refused, tmp_path, "expected at most 0.001", "--max-pixels")
    refused = run("vis", CAT, LITE0, "--random-weights", "--target-image", CAT, "--max-pixels", "1000")
    _refused(refused, tmp_path, "expected at most 0.001")


def test_a_picture_of_12_bits_in_16_is_remarked_on_and_read_by_its_range(run: Run, tmp_path: Path) -> None:
    Image.fromarray(np.linspace(0, 4095, 64 * 64).astype(np.uint16).reshape(64, 64)).save(tmp_path / "xray.png")
    arguments = ("vis", "xray.png", LITE0, "--random-weights", "--json")
    _refused(run(*arguments[:-1], "--value-range", "5", "5"), tmp_path, "Expected value_range", "(5.0, 5.0)")
    assert any("--value-range 0 4095" in warning for warning in run(*arguments).report["warnings"])
    assert not any("dark" in warning for warning in run(*arguments, "--value-range", "0", "4095").report["warnings"])
