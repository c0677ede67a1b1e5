"""Several processes, each with its share of the pictures, train one network."""

import re
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from camtool.errors import CamtoolError
from camtool.train import distributed
from camtool.train.config import training_config
from camtool.train.distributed import check_launcher
from tests.cli.fixtures import ROOT
from tests.train.fixtures import assert_same, of_training, read, started

pytestmark = pytest.mark.slow

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")


def free_port() -> int:
    """Return the number of a port that no process listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def test_two_processes_on_the_cpu_train_one_network_and_write_one_checkpoint(config: Path, tmp_path: Path) -> None:
    folder = tmp_path / "work"

    finished = started(
        *(config, "--work-dir", folder, "--launcher", "pytorch", "--cfg-options", "train_cfg.max_epochs=2"),
        folder=tmp_path,
        program=TORCHRUN,
    )

    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.count("weights: ") == 1
    assert sorted(path.name for path in folder.glob("*.pth")) == ["epoch_1.pth", "epoch_2.pth", "final.pth"]
    checkpoint = read(folder / "epoch_2.pth")
    assert checkpoint["meta"]["iter"] == 2 * 2, "14 pictures, 4 a batch, on two processes"
    one, other = checkpoint["random_state"]
    assert one.keys() == other.keys()
    assert not any(name.startswith("module.") for name in checkpoint["state_dict"])


def test_two_processes_are_resumed_with_the_network_that_was_validated(config: Path, tmp_path: Path) -> None:
    folder, options = tmp_path / "work", ("--launcher", "pytorch", "--cfg-options", "train_cfg.max_epochs=3")
    whole = started(config, "--work-dir", folder, *options, folder=tmp_path, program=TORCHRUN)
    assert whole.returncode == 0, whole.stderr
    of_three = of_training(read(folder / "epoch_3.pth"))
    for epoch in (2, 3):
        (folder / f"epoch_{epoch}.pth").unlink()

    resumed = started(config, "--work-dir", folder, "--resume", *options, folder=tmp_path, program=TORCHRUN)

    assert resumed.returncode == 0, resumed.stderr
    assert f"Resumed from '{folder / 'epoch_1.pth'}'" in resumed.stderr
    # Each process has batch norms of its own, of which one is saved, while all are validated.
    assert_same(of_training(read(folder / "epoch_3.pth")), of_three)


def test_a_launcher_that_has_not_started_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)

    with pytest.raises(CamtoolError, match=r"RANK is not set\. Expected: torchrun .* --launcher pytorch"):
        check_launcher("pytorch")
    with pytest.raises(CamtoolError, match="Unknown launcher 'pytroch'; closest: 'pytorch'"):
        check_launcher("pytroch")


@pytest.mark.parametrize("strict", [(), ("--strict",)])
def test_a_picture_that_only_the_second_process_meets(config: Path, tmp_path: Path, strict: tuple[str, ...]) -> None:
    folder = tmp_path / "work"
    broken = tmp_path / "train/dark/1.png"  # in order, the processes take turns
    broken.write_bytes(b"")
    in_order = ("train_cfg.max_epochs=1", "train_dataloader.batch_size=1", "train_dataloader.sampler.shuffle=False")

    finished = started(
        *(config, "--work-dir", folder, "--launcher", "pytorch", *strict, "--cfg-options", *in_order),
        folder=tmp_path,
        program=TORCHRUN,
        limit=100,
    )

    if strict:
        assert finished.returncode != 0
        errors = re.findall("^Error: .*", finished.stderr, re.MULTILINE)
        assert f"Error: Picture '{broken}' cannot be read: it is not an image. Without --strict it would be skipped." in errors
        assert set(errors[1:]) <= {"Error: Another process of this training ended; see its error message for the reason."}, errors
    else:
        assert finished.returncode == 0, finished.stderr
        assert f"1 pictures could not be read and were skipped: {broken}" in finished.stderr
        assert "1 pictures could not be read and were skipped" in finished.stdout
        checkpoint = read(folder / "epoch_1.pth")
        assert checkpoint["meta"]["iter"] == 7
        assert len(checkpoint["message_hub"]["log_scalars"]["train/loss"]["values"]) == 6, "the first process trained alone"


@pytest.mark.parametrize(
    ("own", "used"),
    [
        ({}, {"type": "MMDistributedDataParallel", "device_ids": None, "find_unused_parameters": False}),
        ({"find_unused_parameters": True}, {"type": "MMDistributedDataParallel", "device_ids": None, "find_unused_parameters": True}),
        ({"type": "Mine"}, {"type": "Mine"}),
    ],
)
def test_the_configs_own_wrapper_stays_its_own(
    config: Path, monkeypatch: pytest.MonkeyPatch, own: dict[str, Any], used: dict[str, Any]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    config.write_text(f"{config.read_text()}\nmodel_wrapper_cfg = {own}\n")

    wrapper = training_config(str(config), launcher="pytorch").model_wrapper_cfg

    assert {key: value for key, value in wrapper.items() if key != "broadcast_buffers"} == used


def test_a_process_that_has_left_a_group_ends_without_the_interpreters_ending() -> None:
    script = """
import atexit, os, sys
from camtool.cli import start
from camtool.train import distributed

def command(code):
    print("result")
    sys.exit(code)

start._imported = lambda name: command
atexit.register(lambda: os.abort())  # what a thread of the group may do then
distributed.left.set()
start.run_alone(3)
"""

    finished = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)

    assert (finished.returncode, finished.stdout, finished.stderr) == (3, "result\n", "")


def test_leaving_a_group_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "left", threading.Event())
    for name, value in {
        "RANK": "0",
        "WORLD_SIZE": "1",
        "LOCAL_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
    }.items():
        monkeypatch.setenv(name, value)

    with distributed.joined("pytorch"):
        assert not distributed.left.is_set()

    assert distributed.left.is_set()
