"""Hook that plots loss and accuracy by epoch."""

from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from camtool.io.atomic import write_atomically
from camtool.registry import HOOKS

FILE = "curves.png"
KEY = "curves"
"""Key of {curve: [(epoch, value), …]} in the message hub, and so in every checkpoint."""

_PANELS = {"loss": ("loss", "cross_entropy"), "accuracy": ("accuracy",)}


@HOOKS.register_module(name=["CurvesHook", "Curves"])  # the second name: older configs
class CurvesHook(Hook):  # type: ignore[misc]  # mmengine has no types
    """Hook that writes `curves.png` after each epoch and its validation, with the epochs before a resumption."""

    def __init__(self) -> None:
        self._batches = 0
        self._fresh = False

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Count the batches of the epoch, without skipped ones."""
        self._batches += 1

    def after_train_epoch(self, runner: Runner) -> None:
        """Record the epoch's means of loss and accuracy in training."""
        scalars = runner.message_hub.log_scalars
        for key in [name for name in scalars if name.startswith("train/") and _panel(name)]:
            if self._batches:
                self._record(runner, key, runner.epoch + 1, float(scalars[key].mean(self._batches)))
        self._batches = 0
        self._fresh = True

    def after_val_epoch(self, runner: Runner, metrics: dict[str, Any] | None = None) -> None:
        """Record the metrics; runner.epoch has already been incremented."""
        for key, value in (metrics or {}).items():
            if _panel(key) and isinstance(value, (int, float)):
                self._record(runner, f"val/{key}", runner.epoch, float(value))

    def before_train_epoch(self, runner: Runner) -> None:
        """Draw the curves up to the previous epoch and its validation."""
        self._draw(runner)

    def after_train(self, runner: Runner) -> None:
        """Draw the curves of all epochs."""
        self._draw(runner)

    def _record(self, runner: Runner, key: str, epoch: int, value: float) -> None:
        curves: dict[str, list[tuple[int, float]]] = runner.message_hub.get_info(KEY) or {}
        curves.setdefault(key, []).append((epoch, value))
        runner.message_hub.update_info(KEY, curves)

    def _draw(self, runner: Runner) -> None:
        if not self._fresh or not is_main_process():
            return
        self._fresh = False
        from camtool.visualization.training_curves import draw_curves

        panels: dict[str, dict[str, list[tuple[int, float]]]] = {}
        for key, points in (runner.message_hub.get_info(KEY) or {}).items():
            panels.setdefault(_panel(key), {})[_label(key)] = points
        write_atomically(Path(runner.work_dir) / FILE, draw_curves(panels))


def _panel(key: str) -> str:
    """Return the panel of a scalar, "" for none."""
    return next((panel for panel, words in _PANELS.items() if any(word in key for word in words)), "")


def _label(key: str) -> str:
    stage, _, name = key.partition("/")
    short = name.replace("accuracy", "").replace("cross_entropy/mean", "").replace("_", " ").replace("/", " ").strip("- ")
    return " ".join(f"{'training' if stage == 'train' else 'validation'} {'' if short == 'loss' else short}".split())
