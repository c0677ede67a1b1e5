"""Checkpoints are whole or absent, plain data, and stand after the validation of their epoch."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from camtool.errors import CheckpointError, OutputError
from camtool.io.atomic import remove_leftovers, write_atomically
from camtool.train.serialization import hub_from_plain, plain, plain_hub
from tests.cli.fixtures import Run
from tests.train.fixtures import assert_same, read


def _options(*options: str) -> tuple[str, ...]:
    return ("--cfg-options", "train_cfg.max_epochs=4", *options)


def test_a_full_disk_is_one_error_that_names_the_file_and_what_is_kept(
    config: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, sync = tmp_path / "work", os.fsync

    def full(descriptor: int) -> None:
        if ".epoch_3.pth." in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    finished = run("train", config, "--work-dir", folder, *_options("default_hooks.checkpoint.max_keep_ckpts=1"))

    assert finished.exit_code == 2
    said = f"Cannot write '{folder / 'epoch_3.pth'}': No space left on device."
    kept = f"continue from '{folder / 'epoch_2.pth'}' with --resume."
    assert finished.stderr.strip().splitlines()[-1] == f"Error: {said} Earlier checkpoints are kept; free some space and {kept}"
    assert [path.name for path in folder.glob("*.pth")] == ["epoch_2.pth"], "the only one was removed before there was another"
    assert not list(folder.glob(".epoch*")), "half a file is left behind"
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert run("train", config, "--work-dir", folder, "--resume", *_options()).exit_code == 0


@pytest.mark.parametrize("save_best", ["accuracy/top1", "auto"])
@pytest.mark.parametrize("resumed", [False, True])
def test_only_the_newest_are_kept_and_the_best_beside_them(config: Path, tmp_path: Path, run: Run, save_best: str, resumed: bool) -> None:
    folder = tmp_path / "work"
    options = ("default_hooks.checkpoint.max_keep_ckpts=2", f"default_hooks.checkpoint.save_best={save_best}", "custom_hooks=[]")

    if resumed:
        assert run("train", config, "--work-dir", folder, *_options(*options, "train_cfg.max_epochs=1")).exit_code == 0
    finished = run("train", config, "--work-dir", folder, *_options(*options), *(["--resume"] if resumed else []))

    assert finished.exit_code == 0, finished.stderr
    assert ("Resumed from" in finished.stderr) is resumed
    names = sorted(path.name for path in folder.glob("*.pth"))
    (best,) = [name for name in names if name.startswith("best_accuracy_top1_epoch_")]
    assert names == [best, "epoch_3.pth", "epoch_4.pth", "final.pth"]
    scores = read(folder / "epoch_4.pth")["message_hub"]["log_scalars"]["val/accuracy/top1"]["values"]
    assert best == f"best_accuracy_top1_epoch_{int(scores.argmax()) + 1}.pth"
    assert read(folder / "final.pth")["state_dict"].keys() == read(folder / best)["state_dict"].keys()
    assert (folder / "last_checkpoint").read_text() == str(folder / "epoch_4.pth")


@pytest.mark.parametrize(
    ("save_best", "said"),
    [
        ("acuracy/top1", "save_best is 'acuracy/top1', which the validation does not report; closest: 'accuracy/top1'"),
        ("auto", "save_best='auto': Cannot infer the rule for key cross_entropy/mean"),
    ],
)
def test_a_best_that_cannot_be_told_is_refused(config: Path, run: Run, save_best: str, said: str) -> None:
    config.write_text(f"{config.read_text()}\nval_evaluator = val_evaluator[::-1]\n")

    finished = run("train", config, "--work-dir", "work", *_options(f"default_hooks.checkpoint.save_best={save_best}"))

    assert finished.exit_code == 2, finished.stderr
    assert said in finished.stderr


def test_every_second_epoch_and_the_last_are_saved(config: Path, tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "work"

    finished = run("train", config, "--work-dir", folder, *_options("train_cfg.max_epochs=3", "default_hooks.checkpoint.interval=2"))

    assert finished.exit_code == 0, finished.stderr
    assert sorted(path.name for path in folder.glob("epoch*")) == ["epoch_2.pth", "epoch_3.pth"]
    assert read(folder / "epoch_3.pth")["meta"]["epoch"] == 3


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("by_epoch=False", "has by_epoch=False; expected by_epoch=True, since training is saved and resumed by epochs."),
        ("filename_tmpl=last.pth", "filename_tmpl is 'last.pth'; expected a file name with one {} for the epoch."),
    ],
)
def test_checkpoints_that_cannot_be_resumed_from_are_refused(config: Path, run: Run, option: str, said: str) -> None:
    finished = run("train", config, "--work-dir", "work", "--cfg-options", f"default_hooks.checkpoint.{option}")

    assert finished.exit_code == 2
    assert said in finished.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["checkpoint", "runtime_info", "sampler_seed", "logger", "timer", "param_scheduler", "visualization"])
def test_a_default_hook_that_the_config_takes_away(config: Path, tmp_path: Path, run: Run, name: str) -> None:
    finished = run("train", config, "--work-dir", "work", "--cfg-options", f"default_hooks.{name}=None", "train_cfg.max_epochs=1")

    assert finished.exit_code == 0, finished.stderr
    expected = ["final.pth"] if name == "checkpoint" else ["epoch_1.pth", "final.pth"]
    assert sorted(path.name for path in (tmp_path / "work").glob("*.pth")) == expected


def test_a_checkpoint_holds_the_validation_of_its_epoch(config: Path, tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "work"
    assert run("train", config, "--work-dir", folder, *_options()).exit_code == 0

    for epoch in (1, 2, 3, 4):
        checkpoint = read(folder / f"epoch_{epoch}.pth")
        assert len(checkpoint["message_hub"]["log_scalars"]["val/accuracy/top1"]["values"]) == epoch
        assert checkpoint["param_schedulers"][0]["last_step"] == epoch - 1
        assert checkpoint["early_stopping"]["best_epoch"] > 0


def test_the_final_checkpoint_is_the_weights_with_the_names_of_the_classes(config: Path, tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "work"
    assert run("train", config, "--work-dir", folder, *_options()).exit_code == 0

    final = read(folder / "final.pth")
    assert final.keys() == {"meta", "state_dict"}
    assert final["meta"]["dataset_meta"]["classes"] == ("dark", "light")
    picture = next((tmp_path / "val/dark").iterdir())
    seen = run("vis", picture, folder / "tiny.py", folder / "final.pth", "--json", "--target-layers", "backbone.layer1[-1]")
    assert {one["name"] for one in seen.report["top5"]} == {"dark", "light"}


def test_the_config_in_the_work_directory_trains_the_same_network(config: Path, tmp_path: Path, run: Run) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    assert run("train", config, "--work-dir", one, "--cfg-options", "train_cfg.max_epochs=1").exit_code == 0

    again = run("train", one / "tiny.py", "--work-dir", other)

    assert again.exit_code == 0, again.stderr
    assert_same(read(other / "final.pth")["state_dict"], read(one / "final.pth")["state_dict"])


def test_plain_data_is_what_it_was() -> None:
    value = {"a": np.float32(0.5), "b": (1, np.int64(2)), "c": [np.arange(3)], "d": torch.ones(2), "e": None, "f": {"x"}}

    assert plain({**value, "d": None}) == {"a": 0.5, "b": (1, 2), "c": [[0, 1, 2]], "d": None, "e": None, "f": {"x"}}
    assert plain(value)["d"] is value["d"]
    with pytest.raises(CheckpointError, match=r"'checkpoint.a\[1\]' of the checkpoint is a pathlib"):
        plain({"a": [0, Path("x")]})


def test_a_message_hub_is_what_it_was() -> None:
    losses = HistoryBuffer([0.5, 0.25], [1, 2])
    hub = {"log_scalars": {"loss": losses}, "runtime_info": {"epoch": 3, "path": Path("x")}, "resumed_keys": {"loss": True, "path": True}}

    again = hub_from_plain(plain_hub(hub))

    assert again["runtime_info"] == {"epoch": 3}
    assert again["resumed_keys"] == {"loss": True}
    assert again["log_scalars"]["loss"].mean() == losses.mean()
    assert [array.tolist() for array in again["log_scalars"]["loss"].data] == [[0.5, 0.25], [1, 2]]


def test_a_durable_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (done.append("fsync"), sync(descriptor))[1])
    monkeypatch.setattr(os, "replace", lambda *names: (done.append("replace"), replace(*names))[1])

    write_atomically(tmp_path / "a", b"content", durable=True)

    assert done == ["fsync", "replace", "fsync"], "the content, the name, the folder that has it"
    assert (tmp_path / "a").read_bytes() == b"content"
    with pytest.raises(OutputError):
        write_atomically(tmp_path / "a" / "b", b"", durable=True)


def test_leftovers_are_removed_and_nothing_else(tmp_path: Path) -> None:
    names = [".epoch_1.pth.abcdefgh", ".epoch_12.pth.01234567", ".epoch_1.pth.backup", "epoch_1.pth", ".other.pth.abcdefgh"]
    for name in names:
        (tmp_path / name).touch()

    remove_leftovers(tmp_path, ["epoch_*.pth"])

    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[2:])
