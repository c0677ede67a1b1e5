"""Hook that saves checkpoints atomically, as plain data, after the validation of their epoch."""

import os
from pathlib import Path
from typing import Any

from mmengine import hooks
from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.runner import Runner

from camtool.errors import ConfigError, OutputError
from camtool.io.atomic import remove_leftovers, write_atomically
from camtool.registry import HOOKS
from camtool.train.hooks.monitoring import check_monitored
from camtool.train.serialization import hub_from_plain, plain, plain_hub, plain_schedulers

FINAL = "final.pth"
"""File name of the final weights; with early stopping, the best."""
POINTER = "last_checkpoint"
TEMPLATE = "epoch_{}.pth"
_ATOMIC_BACKEND = "camtool.whole"


class WholeFiles(LocalBackend):  # type: ignore[misc]  # mmengine has no types
    """mmengine's backend for local files, with atomic writing that is flushed to disk."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file atomically; OutputError if that fails."""
        write_atomically(Path(filepath), obj, durable=True)


register_backend(_ATOMIC_BACKEND, WholeFiles, force=True)


@HOOKS.register_module()
class CheckpointHook(hooks.CheckpointHook):  # type: ignore[misc]  # mmengine has no types
    """Hook that saves checkpoints; differs from mmengine's CheckpointHook in three ways.

    Checkpoints are saved after the validation of their epoch; mmengine saves before, so that a resumed training lacks one step of early
    stopping and of a plateau scheduler. Files, including `last_checkpoint`, are written atomically, and an outdated one is removed after
    the new one is written. And they contain plain data, which is loaded without running code.

    Besides `epoch_{n}.pth`, to resume from, training ends by writing `final.pth` with the weights only.
    """

    def __init__(self, interval: int = 1, **settings: Any) -> None:
        settings.setdefault("backend_args", {"backend": _ATOMIC_BACKEND})
        super().__init__(interval, **settings)
        self.last_ckpt: str | None = None
        self._due = False
        self._unsaved = False
        self._trained = False

    def before_train(self, runner: Runner) -> None:
        """Set up the folder and remove temporary files of killed processes.

        `last_checkpoint` is emptied until the first checkpoint, so that checkpoints of an earlier training are not taken for this one's.
        """
        super().before_train(runner)
        self.last_ckpt = runner.message_hub.get_info("last_ckpt")  # of a resumed training
        if is_main_process():
            if self.last_ckpt is None:
                write_atomically(Path(runner.work_dir) / POINTER, b"", durable=True)
            for folder in {str(self.out_dir), runner.work_dir}:
                remove_leftovers(Path(folder), (self.filename_tmpl.format("*"), POINTER, FINAL))

    def after_train_epoch(self, runner: Runner) -> None:
        """Determine whether this epoch is to be saved, which happens after its validation."""
        if self.by_epoch:
            last = self.save_last and self.is_last_train_epoch(runner)
            self._due = last or self.every_n_epochs(runner, self.interval, self.save_begin)
            self._unsaved = True

    def before_train_epoch(self, runner: Runner) -> None:
        """Save the previous epoch, if due."""
        if self._due:
            self._save_epoch(runner)

    def after_train(self, runner: Runner) -> None:
        """Save the last epoch, also if early stopping ended the training."""
        if self._due or (self.save_last and self._unsaved):
            self._save_epoch(runner)
        super().after_train(runner)
        self._trained = True

    def after_run(self, runner: Runner) -> None:
        """Save the final weights, after all hooks may have changed them."""
        if self._trained:
            runner.save_checkpoint(
                self.out_dir,
                FINAL,
                save_optimizer=False,
                save_param_scheduler=False,
                meta={"epoch": runner.epoch, "iter": runner.iter, "final": True},
                by_epoch=self.by_epoch,
                backend_args=self.backend_args,
            )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Convert the checkpoint to plain data."""
        if checkpoint["meta"].get("final"):
            for part in checkpoint.keys() - {"meta", "state_dict"}:
                del checkpoint[part]
        else:
            checkpoint["message_hub"] = plain_hub(checkpoint["message_hub"])
        checkpoint["meta"] = plain(checkpoint["meta"], "meta")
        if "param_schedulers" in checkpoint:
            checkpoint["param_schedulers"] = plain_schedulers(checkpoint["param_schedulers"])

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Convert plain data to the states that mmengine loads."""
        if "message_hub" in checkpoint:
            checkpoint["message_hub"] = hub_from_plain(checkpoint["message_hub"])

    def _save_epoch(self, runner: Runner) -> None:
        self._due = self._unsaved = False
        runner.logger.info(f"Saving checkpoint at {runner.epoch} epochs")
        self._save_checkpoint_with_step(runner, runner.epoch, {"epoch": runner.epoch, "iter": runner.iter})

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict[str, Any]) -> None:
        # mmengine's method removes the outdated checkpoint first, and does not write `last_checkpoint` atomically.
        outdated = self._rotate(runner, step)
        runner.call_hook("before_gather_checkpoint")  # on all processes; before_save_checkpoint is called on the first only
        name, before = self.filename_tmpl.format(step), self.last_ckpt
        self.last_ckpt = os.path.join(str(self.out_dir), name)
        runner.message_hub.update_info("last_ckpt", self.last_ckpt)
        try:
            runner.save_checkpoint(
                self.out_dir,
                name,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta=meta,
                by_epoch=self.by_epoch,
                backend_args=self.backend_args,
                **self.args,
            )
            if is_main_process():
                write_atomically(Path(runner.work_dir) / POINTER, self.last_ckpt.encode(), durable=True)
        except OutputError as error:
            kept = f" Earlier checkpoints are kept; free some space and continue from '{before}' with --resume." if before else ""
            raise OutputError(f"{str(error).removesuffix(' Choose another path.')}{kept}") from error
        if is_main_process():
            for path in outdated:
                path.unlink(missing_ok=True)

    def _rotate(self, runner: Runner, step: int) -> list[Path]:
        """Return the files that are outdated once `step` is saved, and update the list of kept ones."""
        if self.max_keep_ckpts <= 0:
            return []
        steps = [*(kept for kept in self.keep_ckpt_ids if kept != step), step]
        outdated, kept = steps[: -self.max_keep_ckpts], steps[-self.max_keep_ckpts :]
        self.keep_ckpt_ids.clear()
        self.keep_ckpt_ids.extend(kept)
        runner.message_hub.update_info("keep_ckpt_ids", kept)
        return [Path(str(self.out_dir)) / self.filename_tmpl.format(old) for old in outdated]

    def _save_best_checkpoint(self, runner: Runner, metrics: dict[str, Any]) -> None:
        # mmengine's method removes the best checkpoint so far before it writes the new one, and saves the last checkpoint again; neither if
        # these paths are None. The checkpoint of this epoch is saved later here.
        if not self.save_best:
            return
        if "auto" in self.key_indicators:  # the first metric; resolved here, since paths are stored by its name
            try:
                self._init_rule(self.rules, [next(iter(metrics))])
            except ValueError as error:
                raise ConfigError(f"save_best='auto': {error} Give rule='greater' or 'less' as well.") from error
        for key in self.key_indicators:
            check_monitored(key, metrics, "save_best is")
        last, self.last_ckpt = self.last_ckpt, None
        before = self._best_paths()
        self._set_best_paths(dict.fromkeys(before))
        try:
            super()._save_best_checkpoint(runner, metrics)
        finally:
            self.last_ckpt = last
            now = self._best_paths()
            self._set_best_paths({key: now[key] or before[key] for key in before})
        if is_main_process():
            for key, path in before.items():
                if path and now[key] and path != now[key]:
                    Path(path).unlink(missing_ok=True)

    def _best_paths(self) -> dict[str, str | None]:
        if len(self.key_indicators) == 1:
            return {self.key_indicators[0]: self.best_ckpt_path}
        return dict(self.best_ckpt_path_dict)

    def _set_best_paths(self, paths: dict[str, str | None]) -> None:
        if len(self.key_indicators) == 1:
            (self.best_ckpt_path,) = paths.values()
        else:
            self.best_ckpt_path_dict = paths
