"""Hook for early stopping that restores the best weights and can be resumed."""

from typing import Any

from mmengine import hooks
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from camtool.registry import HOOKS
from camtool.train.hooks.monitoring import check_monitored

KEY = "early_stopping"


@HOOKS.register_module(name=["EarlyStoppingHook", "EarlyStopping"])  # the second name: older configs
class EarlyStoppingHook(hooks.EarlyStoppingHook):  # type: ignore[misc]  # mmengine has no types
    """Hook for early stopping: mmengine's, with counters and a copy of the best weights in every checkpoint.

    Training ends with the best validated weights in the model, whether it was stopped early or not.

    Args:
        monitor: name of a validation metric.
        min_delta: least improvement, in the unit of the metric (accuracy: percent). With 0, mmengine counts an equal value as better
            and never stops at 100 %.
        patience: number of validations without improvement after which training stops.
    """

    def __init__(self, monitor: str = "accuracy/top1", *, min_delta: float = 1e-3, patience: int = 5, **settings: Any) -> None:
        super().__init__(monitor, min_delta=min_delta, patience=patience, **settings)
        self._best: dict[str, Tensor] = {}
        self._validated: dict[str, Tensor] = {}
        self._best_epoch = 0
        self._stopped = self._out_of_patience = False

    def before_val_epoch(self, runner: Runner) -> None:
        """Copy the weights that are validated; afterwards EMAHook removes its moving average from the model."""
        self._validated = {name: value.detach().cpu().clone() for name, value in _unwrapped(runner.model).state_dict().items()}

    def after_val_epoch(self, runner: Runner, metrics: dict[str, Any]) -> None:
        """Update the counters, and keep the weights if they are the best so far.

        Raises:
            ConfigError: if the validation does not report the metric.
        """
        check_monitored(self.monitor, metrics, "Early stopping monitors")
        before = self.best_score
        super().after_val_epoch(runner, metrics)
        self._stopped = runner.train_loop.stop_training
        self._out_of_patience = self._stopped and self.wait_count >= self.patience
        if self.best_score != before:
            self._best = self._validated
            self._best_epoch = runner.epoch

    def after_train(self, runner: Runner) -> None:
        """Load the best weights into the model."""
        if self._best:
            _unwrapped(runner.model).load_state_dict(self._best)
            runner.logger.info(f"Loaded the best weights, of epoch {self.best}.")

    @property
    def best(self) -> str:
        """Best epoch and its score, "3: accuracy/top1 91.0000"; "" before the first validation."""
        return f"{self._best_epoch}: {self.monitor} {self.best_score:.4f}" if self._best else ""

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Add counters and best weights to the checkpoint."""
        if checkpoint["meta"].get("final"):
            if self._best:
                checkpoint["state_dict"].update(self._best)  # in place of the last moving average of EMAHook
                checkpoint["meta"].update(best_epoch=self._best_epoch, best_score=float(self.best_score))
            return
        checkpoint[KEY] = {
            "wait_count": self.wait_count,
            "best_score": float(self.best_score),
            "best_epoch": self._best_epoch,
            "best_weights": self._best,
            "stopped": self._stopped,
            "waited_out": self._out_of_patience,
        }

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Restore counters and best weights. A stopped training stays stopped, unless its patience is now greater."""
        state = checkpoint.get(KEY)
        if state is None:
            return
        self.wait_count, self.best_score = state["wait_count"], state["best_score"]
        self._best, self._best_epoch = state["best_weights"], state["best_epoch"]
        reopened = state["waited_out"] and self.wait_count < self.patience
        self._stopped, self._out_of_patience = (state[key] and not reopened for key in ("stopped", "waited_out"))
        runner.train_loop.stop_training = self._stopped


def _unwrapped(model: nn.Module) -> nn.Module:
    return model.module if is_model_wrapper(model) else model  # type: ignore[return-value]  # a wrapper's module
