"""A training that is killed goes on as if nothing had been: bit for bit, on the CPU."""

import errno
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.cli.fixtures import Run
from tests.train.fixtures import assert_same, of_training, read, started

pytestmark = pytest.mark.slow

KILLED = -9
WORKERS = ("--cfg-options", "train_dataloader.num_workers=2", "train_dataloader.persistent_workers=True", "val_dataloader.num_workers=1")


def _checkpoints(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.pth"))


def test_a_training_killed_in_the_middle_of_an_epoch_is_resumed_bit_for_bit(config: Path, tmp_path: Path, run: Run) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    uninterrupted = run("train", config, "--work-dir", whole, *WORKERS)
    assert uninterrupted.exit_code == 0, uninterrupted.stderr

    finished = started(config, "--work-dir", killed, *WORKERS, folder=tmp_path, DIE_AT="9")  # of 4 batches an epoch: the third
    assert finished.returncode == KILLED, finished.stderr
    assert _checkpoints(killed) == ["epoch_1.pth", "epoch_2.pth"]
    resumed = run("train", config, "--work-dir", killed, "--resume", *WORKERS)

    assert resumed.exit_code == 0, resumed.stderr
    assert f"Resumed from '{killed / 'epoch_2.pth'}' after 2 epochs." in resumed.stderr
    assert _checkpoints(killed) == _checkpoints(whole)
    for name in _checkpoints(whole)[2:-1]:
        assert_same(of_training(read(killed / name)), of_training(read(whole / name)), name)
    assert_same(read(killed / "final.pth")["state_dict"], read(whole / "final.pth")["state_dict"])
    last = read(whole / (whole / "last_checkpoint").read_text())
    history, steps = last["message_hub"]["log_scalars"], last["optimizer"]["state"]
    assert len(history["train/loss"]["values"]) == 4 * last["meta"]["epoch"]
    assert len(history["val/cross_entropy/mean"]["values"]) == last["meta"]["epoch"]
    assert last["param_schedulers"][0]["last_step"] == last["meta"]["epoch"] - 1, "the plateau scheduler has lost a step"
    assert steps, "nothing was compared of the optimiser"
    assert last["early_stopping"]["best_weights"].keys() == last["state_dict"].keys()


def test_a_training_killed_while_it_writes_a_checkpoint_keeps_the_one_before(config: Path, tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "killed"
    finished = started(config, "--work-dir", folder, folder=tmp_path, DIE_WRITING="epoch_2.pth")
    assert finished.returncode == KILLED, finished.stderr
    assert _checkpoints(folder) == ["epoch_1.pth"]
    assert (folder / "last_checkpoint").read_text() == str(folder / "epoch_1.pth")
    assert list(folder.glob(".epoch_2.pth.*")), "it was not killed while writing"

    resumed = run("train", config, "--work-dir", folder, "--resume", "--cfg-options", "train_cfg.max_epochs=2")

    assert resumed.exit_code == 0, resumed.stderr
    assert _checkpoints(folder) == ["epoch_1.pth", "epoch_2.pth", "final.pth"]
    assert not list(folder.glob(".*.pth.*")), "what was half-written is still there"


def test_a_truncated_checkpoint_is_passed_over_and_said(config: Path, tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "work"
    assert run("train", config, "--work-dir", folder, "--cfg-options", "train_cfg.max_epochs=2").exit_code == 0
    os.truncate(folder / "epoch_2.pth", 20_000)

    resumed = run("train", config, "--work-dir", folder, "--resume", "--cfg-options", "train_cfg.max_epochs=2")

    assert resumed.exit_code == 0, resumed.stderr
    assert f"Checkpoint '{folder / 'epoch_2.pth'}' is damaged" in resumed.stderr
    assert f"Resumed from '{folder / 'epoch_1.pth'}'" in resumed.stderr
    assert read(folder / "epoch_2.pth")["meta"]["epoch"] == 2


def test_checkpoints_of_another_name_are_resumed_from(config: Path, tmp_path: Path, run: Run) -> None:
    folder, options = tmp_path / "work", ("--cfg-options", "default_hooks.checkpoint.filename_tmpl=tiny-{}.ckpt")
    assert run("train", config, "--work-dir", folder, *options, "train_cfg.max_epochs=1").exit_code == 0

    resumed = run("train", config, "--work-dir", folder, "--resume", *options, "train_cfg.max_epochs=2")

    assert resumed.exit_code == 0, resumed.stderr
    assert f"Resumed from '{folder / 'tiny-1.ckpt'}' after 1 epochs." in resumed.stderr


def test_nothing_to_resume_from_begins_anew_and_says_so(config: Path, tmp_path: Path, run: Run) -> None:
    finished = run("train", config, "--work-dir", tmp_path / "new", "--resume", "--cfg-options", "train_cfg.max_epochs=1")

    assert finished.exit_code == 0, finished.stderr
    assert f"No checkpoint in '{tmp_path / 'new'}' to resume from; a new training is started." in finished.stderr
    assert _checkpoints(tmp_path / "new") == ["epoch_1.pth", "final.pth"]


def _third_epoch(config: Path, folder: Path, run: Run) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the third epoch leaves when it is resumed from the second, and when nothing comes between."""
    assert run("train", config, "--work-dir", folder).exit_code == 0
    of_three = of_training(read(folder / "epoch_3.pth"))
    (folder / "epoch_3.pth").unlink()
    resumed = run("train", config, "--work-dir", folder, "--resume")
    assert resumed.exit_code == 0, resumed.stderr
    assert f"Resumed from '{folder / 'epoch_2.pth'}'" in resumed.stderr
    return of_training(read(folder / "epoch_3.pth")), of_three


def test_a_scheduler_that_holds_a_function_and_steps_each_batch_is_resumed(config: Path, tmp_path: Path, run: Run) -> None:
    one_cycle = 'param_scheduler = dict(type="OneCycleLR", eta_max=0.03, total_steps=3, by_epoch=True, convert_to_iter_based=True)'
    config.write_text(re.sub("param_scheduler = .*", one_cycle, config.read_text()).replace("max_epochs=6", "max_epochs=3"))

    assert_same(*_third_epoch(config, tmp_path / "work", run))


@pytest.mark.parametrize(
    "hook",
    [
        'dict(type="mmengine.EMAHook", momentum=0.3)',
        'dict(type="EMAHook", momentum=0.3, update_buffers=True)',
        'dict(type="SwitchRecipeHook", schedule=[dict(action_epoch=2, train_pipeline=test_pipeline)])',
    ],
)
def test_a_hook_that_asks_whether_the_training_is_resumed_goes_on_too(config: Path, tmp_path: Path, run: Run, hook: str) -> None:
    config.write_text(re.sub("custom_hooks = .*", f"custom_hooks = [{hook}]", config.read_text()).replace("max_epochs=6", "max_epochs=3"))

    resumed, of_three = _third_epoch(config, tmp_path / "work", run)

    assert ("ema_state_dict" in of_three) is ("EMA" in hook)
    assert_same(resumed, of_three)


def test_a_seed_that_the_config_leaves_open_is_that_of_the_checkpoint(config: Path, tmp_path: Path, run: Run) -> None:
    config.write_text(config.read_text().replace("randomness = dict(seed=0)", ""))
    folder = tmp_path / "work"
    assert run("train", config, "--work-dir", folder, "--cfg-options", "train_cfg.max_epochs=2").exit_code == 0
    of_two = of_training(read(folder / "epoch_2.pth"))
    (folder / "epoch_2.pth").unlink()

    assert run("train", config, "--work-dir", folder, "--resume", "--cfg-options", "train_cfg.max_epochs=2").exit_code == 0

    assert_same(of_training(read(folder / "epoch_2.pth")), of_two)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("model.backbone.base_channels=16", "it is of another network"),
        ("optim_wrapper.optimizer.type=SGD", "it is of another optimizer"),
    ],
)
def test_a_changed_model_or_optimiser_is_not_resumed(config: Path, tmp_path: Path, run: Run, option: str, said: str) -> None:
    folder = tmp_path / "work"
    assert run("train", config, "--work-dir", folder, "--cfg-options", "train_cfg.max_epochs=1").exit_code == 0
    more = ("model.backbone.stem_channels=16", "model.head.in_channels=32") if "model" in option else ()

    finished = run("train", config, "--work-dir", folder, "--resume", "--cfg-options", option, *more)

    assert finished.exit_code == 2, finished.stderr
    assert f"Error: Cannot resume from '{folder / 'epoch_1.pth'}': {said}" in finished.stderr


def test_a_checkpoint_that_would_run_code_is_not_resumed_from(config: Path, tmp_path: Path, run: Run) -> None:
    class Runs:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "was_run"),)

    folder = tmp_path / "work"
    folder.mkdir()
    torch.save({"meta": {}, "state_dict": {}, "message_hub": Runs(), "optimizer": {}}, folder / "epoch_1.pth")

    finished = run("train", config, "--work-dir", folder, "--resume")

    assert finished.exit_code == 2
    assert "None of the 1 checkpoints" in finished.stderr
    assert not (tmp_path / "was_run").exists()


def test_a_config_in_a_checkpoint_is_not_run(config: Path, tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "work"
    assert run("train", config, "--work-dir", folder, "--cfg-options", "train_cfg.max_epochs=1").exit_code == 0
    checkpoint = read(folder / "epoch_1.pth")
    checkpoint["meta"]["config"] = f"made = __import__('os').mkdir({str(tmp_path / 'was_run')!r})"
    torch.save(checkpoint, folder / "epoch_1.pth")

    resumed = run("train", config, "--work-dir", folder, "--resume", "--cfg-options", "train_cfg.max_epochs=1")

    assert resumed.exit_code == 0, resumed.stderr
    assert f"Resumed from '{folder / 'epoch_1.pth'}'" in resumed.stderr
    assert not (tmp_path / "was_run").exists()


def test_a_training_without_a_checkpoint_yet_is_not_resumed_from_that_of_an_earlier_one(
    config: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, replace = tmp_path / "work", os.replace

    def full(source: str, target: Path) -> None:
        if Path(target).name == "epoch_1.pth":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    assert run("train", config, "--work-dir", folder, "--cfg-options", "train_cfg.max_epochs=2").exit_code == 0
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        assert run("train", config, "--work-dir", folder, "--cfg-options", "train_cfg.max_epochs=1").exit_code == 2
    assert _checkpoints(folder) == ["epoch_1.pth", "epoch_2.pth", "final.pth"], "the earlier training's are lost"

    finished = run("train", config, "--work-dir", folder, "--resume", "--cfg-options", "train_cfg.max_epochs=1")

    assert finished.exit_code == 0, finished.stderr
    assert f"are of an earlier training. To resume from them, remove '{folder / 'last_checkpoint'}'." in finished.stderr
    assert "a new training is started" in finished.stderr
    assert read(folder / "final.pth")["meta"]["epoch"] == 1


def test_a_resumed_copy_of_a_work_directory_removes_nothing_elsewhere(config: Path, tmp_path: Path, run: Run) -> None:
    original, copy = tmp_path / "original", tmp_path / "copy"
    options = ("--cfg-options", "default_hooks.checkpoint.save_best=accuracy/top1", "default_hooks.checkpoint.max_keep_ckpts=1")
    assert run("train", config, "--work-dir", original, *options, "train_cfg.max_epochs=1").exit_code == 0
    shutil.copytree(original, copy)
    checkpoint = read(copy / "epoch_1.pth")
    notes = checkpoint["message_hub"]["runtime_info"]
    assert notes["best_ckpt"] == str(original / "best_accuracy_top1_epoch_1.pth")
    notes["best_score"] = -1.0  # so that the second is better
    (copy / "epoch_x").mkdir()
    notes["keep_ckpt_ids"] = ["x/../../original/epoch_1", 1]
    torch.save(checkpoint, copy / "epoch_1.pth")

    resumed = run("train", config, "--work-dir", copy, "--resume", *options, "train_cfg.max_epochs=2")

    assert resumed.exit_code == 0, resumed.stderr
    assert _checkpoints(original) == ["best_accuracy_top1_epoch_1.pth", "epoch_1.pth", "final.pth"]
    assert _checkpoints(copy) == ["best_accuracy_top1_epoch_2.pth", "epoch_2.pth", "final.pth"]
    assert read(copy / "epoch_2.pth")["message_hub"]["runtime_info"]["keep_ckpt_ids"] == [2]


def test_a_best_checkpoint_that_is_not_named_as_one_is_not_removed(config: Path, tmp_path: Path, run: Run) -> None:
    folder, precious = tmp_path / "work", tmp_path / "precious.txt"
    options = ("--cfg-options", "default_hooks.checkpoint.save_best=accuracy/top1")
    assert run("train", config, "--work-dir", folder, *options, "train_cfg.max_epochs=1").exit_code == 0
    precious.touch()
    checkpoint = read(folder / "epoch_1.pth")
    checkpoint["message_hub"]["runtime_info"].update(best_ckpt=str(precious), best_score=-1.0)
    torch.save(checkpoint, folder / "epoch_1.pth")

    assert run("train", config, "--work-dir", folder, "--resume", *options, "train_cfg.max_epochs=2").exit_code == 0

    assert precious.exists()
    assert (folder / "best_accuracy_top1_epoch_2.pth").exists(), "the second was no better, so that nothing was to be removed"


def test_the_checkpoints_of_an_earlier_longer_training_are_not_resumed_from(config: Path, tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "work"
    assert run("train", config, "--work-dir", folder, "--cfg-options", "train_cfg.max_epochs=2").exit_code == 0
    assert run("train", config, "--work-dir", folder, "--cfg-options", "train_cfg.max_epochs=1").exit_code == 0

    finished = run("train", config, "--work-dir", folder, "--resume", "--cfg-options", "train_cfg.max_epochs=2")

    assert f"Resumed from '{folder / 'epoch_1.pth'}'" in finished.stderr
