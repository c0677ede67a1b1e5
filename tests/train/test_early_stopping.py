"""Early stopping counts as it should, keeps the best weights as they were, and remembers both."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.runner import Runner
from torch import nn

from camtool.errors import ConfigError
from camtool.registry import HOOKS
from camtool.train.config import training_config
from camtool.train.hooks import HOOK_ALIASES, EarlyStoppingHook
from tests.cli.fixtures import Run
from tests.train.fixtures import assert_same, read


class _Runner(Runner):
    """A Runner of which there is what the hook needs."""

    epoch = 0
    train_loop: Any = None

    def __init__(self) -> None:
        self.said: list[str] = []
        self.model = nn.Linear(1, 1)
        self.train_loop = SimpleNamespace(stop_training=False)
        self.logger = SimpleNamespace(info=self.said.append)

    def validate(self, hook: EarlyStoppingHook, score: float) -> None:
        self.epoch += 1
        with torch.no_grad():
            self.model.weight.fill_(self.epoch)
        hook.before_val_epoch(self)
        hook.after_val_epoch(self, {"accuracy/top1": score})


def test_it_stops_after_patience_and_the_best_weights_are_those_of_then() -> None:
    runner, hook = _Runner(), EarlyStoppingHook(patience=3)
    for score in (50.0, 70.0, 70.0, 60.0):
        runner.validate(hook, score)
        assert not runner.train_loop.stop_training
    runner.validate(hook, 69.0)

    assert runner.train_loop.stop_training
    hook.after_train(runner)
    assert runner.model.weight.item() == 2, "not a copy, or not of the best epoch"
    assert runner.said[-1] == "Loaded the best weights, of epoch 2: accuracy/top1 70.0000."


def test_an_accuracy_that_stays_at_its_highest_stops_too() -> None:
    runner, hook = _Runner(), EarlyStoppingHook(patience=2)
    for _ in range(3):
        runner.validate(hook, 100.0)

    assert runner.train_loop.stop_training


def _saved(hook: EarlyStoppingHook, runner: _Runner) -> dict[str, Any]:
    checkpoint: dict[str, Any] = {"meta": {}}
    hook.before_save_checkpoint(runner, checkpoint)
    return checkpoint


def test_counters_and_weights_come_back_from_the_checkpoint() -> None:
    runner, hook = _Runner(), EarlyStoppingHook(patience=2)
    runner.validate(hook, 70.0)
    runner.validate(hook, 60.0)
    again, other = EarlyStoppingHook(patience=2), _Runner()
    again.after_load_checkpoint(other, _saved(hook, runner))
    other.epoch = 2

    other.validate(again, 60.0)

    assert other.train_loop.stop_training
    again.after_train(other)
    assert other.model.weight.item() == 1


def test_a_stopped_training_stays_so_unless_it_is_given_more_patience() -> None:
    runner, hook = _Runner(), EarlyStoppingHook(patience=1)
    runner.validate(hook, 70.0)
    runner.validate(hook, 60.0)
    assert runner.train_loop.stop_training

    for patience, stays in ((1, True), (3, False)):
        resumed = _Runner()
        EarlyStoppingHook(patience=patience).after_load_checkpoint(resumed, _saved(hook, runner))
        assert resumed.train_loop.stop_training is stays


@pytest.mark.parametrize("score", [float("nan"), 99.0])
def test_a_training_that_another_reason_stopped_is_not_continued_by_patience(score: float) -> None:
    runner, hook = _Runner(), EarlyStoppingHook(patience=3, stopping_threshold=98.0)
    for each in (50.0, 40.0, score):
        assert not runner.train_loop.stop_training
        runner.validate(hook, each)
    assert runner.train_loop.stop_training

    for patience in (3, 10):
        resumed, again = _Runner(), EarlyStoppingHook(patience=patience)
        again.after_load_checkpoint(resumed, _saved(hook, runner))
        assert resumed.train_loop.stop_training
        assert _saved(again, resumed)["early_stopping"]["stopped"], "the next time it would go on"


def test_a_metric_that_is_not_there_is_an_error_that_names_those_that_are() -> None:
    with pytest.raises(ConfigError, match=r"monitors 'acuracy/top1', which .*; closest: 'accuracy/top1'; expected one of: accuracy/top1"):
        EarlyStoppingHook("acuracy/top1", rule="greater").after_val_epoch(_Runner(), {"accuracy/top1": 1.0})


def test_mmengines_hook_keeps_what_it_counts_as_better_and_the_rest_is_said(config: Path) -> None:
    config.write_text(config.read_text().replace("camtool.EarlyStoppingHook", "EarlyStoppingHook"))

    for options, min_delta in (({}, 0.1), ({"custom_hooks.0.min_delta": 0.5}, 0.5)):
        trained = training_config(str(config), options)
        assert trained.custom_hooks[0].type == "camtool.EarlyStoppingHook"
        assert trained.custom_hooks[0].min_delta == min_delta
        assert any("EarlyStoppingHook is replaced by camtool's" in remark for remark in trained.remarks)


def test_the_final_weights_are_the_best_and_the_last_checkpoint_goes_on_from_the_last(config: Path, tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "work"
    finished = run("train", config, "--work-dir", folder)

    assert finished.exit_code == 0, finished.stderr
    final, last = read(folder / "final.pth"), read(Path((folder / "last_checkpoint").read_text()))
    best = last["early_stopping"]["best_epoch"]
    assert last["meta"]["epoch"] == best + 3 < 6 or last["meta"]["epoch"] == 6
    assert_same(final["state_dict"], last["early_stopping"]["best_weights"])
    assert_same(final["state_dict"], read(folder / f"epoch_{best}.pth")["state_dict"])
    assert any(not value.equal(last["state_dict"][name]) for name, value in final["state_dict"].items()), "the last are the best"
    assert final["meta"]["best_epoch"] == best


def test_the_best_weights_are_those_that_were_validated_a_moving_average_too(config: Path, tmp_path: Path, run: Run) -> None:
    ema = 'custom_hooks = [dict(type="mmengine.EMAHook", momentum=0.05), '
    config.write_text(config.read_text().replace("custom_hooks = [", ema).replace("patience=3", "patience=1"))
    folder = tmp_path / "work"

    finished = run("train", config, "--work-dir", folder)

    assert finished.exit_code == 0, finished.stderr
    final = read(folder / "final.pth")
    best = final["meta"]["best_epoch"]
    assert best < final["meta"]["epoch"], "the last is the best"
    assert_same(final["state_dict"], read(folder / f"epoch_{best}.pth")["state_dict"])  # where EMAHook puts the average
    assert final.keys() == {"meta", "state_dict"}


@pytest.mark.parametrize(("new", "old"), HOOK_ALIASES.items())
def test_a_config_may_name_a_hook_as_it_was_called_before(new: str, old: str, config: Path) -> None:
    settings = ", monitor='accuracy/top1'" if new == "EarlyStoppingHook" else ""
    config.write_text(f"{config.read_text()}\ncustom_hooks = [dict(type='camtool.{old}'{settings})]\n")
    kinds = [hook.type for hook in training_config(str(config)).custom_hooks]
    assert kinds.count(f"camtool.{new}") == 1
    assert f"camtool.{old}" not in kinds
    assert HOOKS.get(f"camtool.{old}") is HOOKS.get(f"camtool.{new}")
