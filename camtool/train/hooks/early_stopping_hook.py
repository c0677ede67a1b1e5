"""Early stopping that is resumed where it was, and that gives the best weights at the end."""

from typing import Any

from mmengine import hooks
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from camtool.registry import HOOKS
from camtool.train.hooks.monitoring import check_monitored

KEY = "early_stopping"


@HOOKS.register_module(name=["EarlyStoppingHook", "EarlyStopping"])  # the second: configs written before
class EarlyStoppingHook(hooks.EarlyStoppingHook):  # type: ignore[misc]  # mmengine has no types
    """mmengine's EarlyStoppingHook; its counters and a deep copy of the best weights are in every checkpoint.

    The training ends with the best weights in the model, as they were validated, whether it was stopped or not.

    Args:
        monitor: a metric of the validation.
        min_delta: what counts as better, in the metric's unit (accuracy: percent). Not 0: mmengine would count an equal as better, and
            never stop at 100 %.
        patience: how many validations in a row may be no better.
    """

    def __init__(self, monitor: str = "accuracy/top1", *, min_delta: float = 1e-3, patience: int = 5, **settings: Any) -> None:
        super().__init__(monitor, min_delta=min_delta, patience=patience, **settings)
        self._best: dict[str, Tensor] = {}
        self._validated: dict[str, Tensor] = {}
        self._best_epoch = 0
        self._stopped = self._waited_out = False

    def before_val_epoch(self, runner: Runner) -> None:
        """Copy the weights: after the validation, a moving average of them (EMAHook) is out of the model again."""
        self._validated = {name: value.detach().cpu().clone() for name, value in _bare(runner.model).state_dict().items()}

    def after_val_epoch(self, runner: Runner, metrics: dict[str, Any]) -> None:
        """Count, and keep the weights if they are the best so far.

        Raises:
            ConfigError: if the validation gives no such metric.
        """
        check_monitored(self.monitor, metrics, "Early stopping monitors")
        before = self.best_score
        super().after_val_epoch(runner, metrics)
        self._stopped = runner.train_loop.stop_training
        self._waited_out = self._stopped and self.wait_count >= self.patience
        if self.best_score != before:
            self._best = self._validated
            self._best_epoch = runner.epoch

    def after_train(self, runner: Runner) -> None:
        """Put the best weights into the model."""
        if self._best:
            _bare(runner.model).load_state_dict(self._best)
            runner.logger.info(f"The best weights are those of epoch {self.best}.")

    @property
    def best(self) -> str:
        """Return the best epoch and its score, "" before there is one."""
        return f"{self._best_epoch}: {self.monitor} {self.best_score:.4f}" if self._best else ""

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Add counters and best weights."""
        if checkpoint["meta"].get("final"):
            if self._best:
                checkpoint["state_dict"].update(self._best)  # EMAHook has put the last moving average there
                checkpoint["meta"].update(best_epoch=self._best_epoch, best_score=float(self.best_score))
            return
        checkpoint[KEY] = {
            "wait_count": self.wait_count,
            "best_score": float(self.best_score),
            "best_epoch": self._best_epoch,
            "best_weights": self._best,
            "stopped": self._stopped,
            "waited_out": self._waited_out,
        }

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Take counters and best weights back; a training that was stopped stays so, unless it ran out of patience and is given more."""
        state = checkpoint.get(KEY)
        if state is None:
            return
        self.wait_count, self.best_score = state["wait_count"], state["best_score"]
        self._best, self._best_epoch = state["best_weights"], state["best_epoch"]
        reopened = state["waited_out"] and self.wait_count < self.patience
        self._stopped, self._waited_out = (state[key] and not reopened for key in ("stopped", "waited_out"))
        runner.train_loop.stop_training = self._stopped


def _bare(model: nn.Module) -> nn.Module:
    return model.module if is_model_wrapper(model) else model  # type: ignore[return-value]  # of a wrapper: the module in it
