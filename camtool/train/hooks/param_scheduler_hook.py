"""Hook that steps parameter schedulers, also for skipped batches, and checks the metrics that they monitor."""

from collections.abc import Mapping
from typing import Any

from mmengine import hooks
from mmengine.runner import Runner

from camtool.registry import HOOKS
from camtool.train.hooks.monitoring import check_monitored


@HOOKS.register_module()
class ParamSchedulerHook(hooks.ParamSchedulerHook):  # type: ignore[misc]  # mmengine has no types
    """Hook that steps parameter schedulers: mmengine's, also for skipped batches."""

    def on_batch_passed_over(self, runner: Runner, batch_idx: int) -> None:
        """Step the schedulers by iteration, which else would not reach their end."""
        self.after_train_iter(runner, batch_idx)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, Any] | None = None) -> None:
        """Step the schedulers that depend on the validation.

        Raises:
            ConfigError: if the validation does not report the metric that one of them monitors.
        """
        schedulers = runner.param_schedulers or []
        for group in schedulers.values() if isinstance(schedulers, Mapping) else [schedulers]:  # by optimizer
            for scheduler in group:
                if getattr(scheduler, "need_val_args", False) and metrics is not None:
                    check_monitored(scheduler.monitor, metrics, f"{type(scheduler).__name__} monitors")
        super().after_val_epoch(runner, metrics)
