"""Schedulers of the learning rate and the like, which miss no batch, and monitor a metric that there is."""

from collections.abc import Mapping
from typing import Any

from mmengine import hooks
from mmengine.runner import Runner

from camtool.registry import HOOKS
from camtool.train.hooks.monitoring import check_monitored


@HOOKS.register_module()
class ParamSchedulerHook(hooks.ParamSchedulerHook):  # type: ignore[misc]  # mmengine has no types
    """mmengine's ParamSchedulerHook, for batches that are passed over, too."""

    def on_batch_passed_over(self, runner: Runner, batch_idx: int) -> None:
        """Step those that count batches: they would not come to their end."""
        self.after_train_iter(runner, batch_idx)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, Any] | None = None) -> None:
        """Step those that look at the validation.

        Raises:
            ConfigError: if the validation does not give what one of them monitors.
        """
        schedulers = runner.param_schedulers or []
        for of_one in schedulers.values() if isinstance(schedulers, Mapping) else [schedulers]:
            for scheduler in of_one:
                if getattr(scheduler, "need_val_args", False) and metrics is not None:
                    check_monitored(scheduler.monitor, metrics, f"{type(scheduler).__name__} monitors")
        super().after_val_epoch(runner, metrics)
