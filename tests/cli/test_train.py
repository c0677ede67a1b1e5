"""`camtool train`: wrong input is one line and exit code 2; options do what they say."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from camtool.errors import ConfigError
from camtool.train.config import training_config
from tests.cli.fixtures import ROOT, Finished, Run
from tests.train.fixtures import read, write_config, write_pictures


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A config, beside its pictures."""
    monkeypatch.setattr("mmengine.config.config.FormatCode", lambda text, **_: (text, False))  # slow, for every checkpoint
    return write_config(write_pictures(tmp_path))


def _refused(finished: Finished, *said: str) -> None:
    assert finished.exit_code == 2, finished.stderr
    errors = [line for line in finished.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert finished.stderr.splitlines()[-1] == errors[0]
    assert "Traceback" not in finished.stderr
    assert finished.stdout == ""
    for text in said:
        assert text in errors[0]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("train_dataloader = dict(", "train_datalaoder = dict(", "has no 'train_dataloader'; closest: 'train_datalaoder'"),
        ("optim_wrapper = dict(", "optim = dict(", "has no 'optim_wrapper'; closest: 'optim"),
        ("val_cfg = dict()", "", "has no 'val_cfg'; expected all of val_dataloader, val_cfg, val_evaluator"),
        (
            'custom_hooks = [dict(type="camtool.EarlyStoppingHook"',
            'custom_hooks = [dict(type="EarlyStoping"',
            "unknown hook type 'EarlyStoping'",
        ),
        ('type="ImageClassifier"', 'type="ImageClasifier"', "unknown model type 'ImageClasifier'"),
        ('dict(type="RandomFlip"', 'dict(type="RandomFilp"', "unknown transform type 'RandomFilp'"),
        ('type="Adam"', 'type="Adan7"', "unknown optimizer type 'Adan7'; closest: 'Ada"),
        ("by_epoch=True, max_epochs", "by_epoch=False, max_iters", "expected training by epochs"),
        ('data_prefix="train"', 'data_prefix="trian"', "No such file or directory"),
        ('data_prefix="val"', 'data_prefix="vla"', "No such file or directory"),
        ('"camtool.EarlyStoppingHook", patience=3', '"camtool.EarlyStoppingHook", patence=3', "patence"),
        ("num_classes=2, in_channels=16", "num_classes=2, in_channel=16", "in_channel"),
    ],
)
def test_a_config_that_trains_nothing(config: Path, tmp_path: Path, run: Run, old: str, new: str, said: str) -> None:
    content = config.read_text()
    assert old in content
    config.write_text(content.replace(old, new))

    _refused(run("train", config, "--work-dir", tmp_path / "work"), said, str(config))
    assert not list(tmp_path.glob("work/*.pth"))


def test_no_config_two_configs_or_none_such(config: Path, run: Run) -> None:
    _refused(run("train"), "Expected one CONFIG")
    _refused(run("train", config, "--config", config), "Expected one CONFIG")
    _refused(run("train", str(config).replace("tiny", "tinny")), "No config", "closest:", "tiny.py")
    _refused(run("train", "cam.yaml"), "No config 'cam.yaml'; expected a YAML file")
    _refused(run("train", config, "--launcher", "slrum"), "Unknown launcher 'slrum'; closest: 'slurm'")
    _refused(run("train", config, "--cfg-options", "train_cgf.max_epochs=1"), "the config has no 'train_cgf'; closest: 'train_cfg'")


def test_a_work_directory_that_cannot_be_one(config: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "file").touch()

    _refused(run("train", config, "--work-dir", tmp_path / "file"), "is a file, not a directory")
    _refused(run("train", config, "--work-dir", tmp_path / "file/in/it"), "is a file, not a directory")
    _refused(run("train", config, "--work-dir", "/proc/work"), "Cannot create the work directory '/proc/work'")


def test_an_early_stopping_that_monitors_nothing_there_is(config: Path, tmp_path: Path, run: Run) -> None:
    config.write_text(config.read_text().replace("patience=3", "patience=3, monitor='acc'"))

    _refused(run("train", config, "--work-dir", tmp_path / "work"), "monitors 'acc'", "accuracy/top1")


@pytest.mark.parametrize(("head", "outputs"), [("LinearClsHead", 3), ("LinearClsHead", 1), ("MultiLabelLinearClsHead", 3)])
def test_a_head_of_more_or_fewer_classes_than_the_data_have(config: Path, tmp_path: Path, run: Run, head: str, outputs: int) -> None:
    options = (f"model.head.type={head}", f"model.head.num_classes={outputs}")
    finished = run("train", config, "--work-dir", tmp_path / "work", "--cfg-options", *options, "train_cfg.max_epochs=1")

    said = f"The data set of 'train_dataloader' has 2 classes, the network's head {outputs}. Set model.head.num_classes"
    assert (said in finished.stderr) == (head == "LinearClsHead")


def test_mixed_precision_trains_in_bfloat16_on_the_cpu(config: Path, tmp_path: Path, run: Run) -> None:
    losses = []
    for option in ((), ("--amp",)):
        folder = tmp_path / f"work{len(losses)}"
        finished = run("train", config, "--work-dir", folder, *option, "--cfg-options", "train_cfg.max_epochs=1")
        assert finished.exit_code == 0, finished.stderr
        losses.append(read(folder / "epoch_1.pth")["message_hub"]["log_scalars"]["train/loss"]["values"])

    assert not losses[0].equal(losses[1])
    assert torch.allclose(losses[0], losses[1], atol=0.05)


def test_mixed_precision_is_refused_where_it_cannot_be(config: Path) -> None:
    for wrapper, amp, said in (
        ("ApexOptimWrapper", True, "expected OptimWrapper or AmpOptimWrapper"),
        ("AmpOptimWrapper", False, "needs CUDA"),
    ):
        with pytest.raises(ConfigError, match=said):
            training_config(str(config), {"optim_wrapper.type": wrapper}, amp=amp)


def test_results_are_on_standard_output_and_the_rest_on_standard_error(config: Path, tmp_path: Path, run: Run) -> None:
    finished = run("train", config, "--cfg-options", "train_cfg.max_epochs=1", "randomness.seed=3")

    assert finished.exit_code == 0, finished.stderr
    folder = tmp_path / "outputs/train/tiny"
    first, second, *files = finished.stdout.splitlines()
    assert first.startswith("1 epochs; the last validation: accuracy/top1 ")
    assert second.startswith("the best weights are those of epoch 1: accuracy/top1 ")
    assert files == [f"weights: {folder / 'final.pth'}", f"curves: {folder / 'curves.png'}"]
    assert "Epoch(train) [1][4/4]" in finished.stderr
    assert read(folder / "final.pth")["meta"]["seed"] == 3


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys\nsys.argv = ['camtool', 'train', '--help']\nfrom camtool.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'mmengine', 'mmpretrain', 'yaml', 'numpy'} & sys.modules.keys()), file=sys.stderr)"
    )
    finished = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)

    assert "--resume" in finished.stdout
    assert finished.stderr == "[]\n"
