"""Checkpoints that are whole or absent, and that stand after the validation of their epoch."""

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
"""The weights at the end of a training: with early stopping, the best."""
POINTER = "last_checkpoint"
TEMPLATE = "epoch_{}.pth"
_WHOLE = "camtool.whole"


class WholeFiles(LocalBackend):  # type: ignore[misc]  # mmengine has no types
    """mmengine's access to files, with files written whole or not at all, and on the disk when `put` returns."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file; OutputError where that cannot be done."""
        write_atomically(Path(filepath), obj, durable=True)


register_backend(_WHOLE, WholeFiles, force=True)


@HOOKS.register_module()
class CheckpointHook(hooks.CheckpointHook):  # type: ignore[misc]  # mmengine has no types
    """mmengine's CheckpointHook, except for three things.

    An epoch's checkpoint is saved when its validation is done and every hook has seen it: mmengine saves before, so that a resumed
    training lacks one step of early stopping and of a plateau scheduler. The files, `last_checkpoint` among them, are whole or absent,
    and an old one is removed only when the new one is written. And they hold plain data, which is read without running anything.

    Beside `epoch_{n}.pth`, to resume from, the end of a training writes `final.pth`, the weights alone.
    """

    def __init__(self, interval: int = 1, **settings: Any) -> None:
        settings.setdefault("backend_args", {"backend": _WHOLE})
        super().__init__(interval, **settings)
        self.last_ckpt: str | None = None
        self._due = False
        self._unsaved = False
        self._trained = False

    def before_train(self, runner: Runner) -> None:
        """Take the folder's name; remove what a killed process left half-written.

        `last_checkpoint` names none from here to the first checkpoint: those of an earlier training in the same folder are not this one's.
        """
        super().before_train(runner)
        self.last_ckpt = runner.message_hub.get_info("last_ckpt")  # of a resumed training
        if is_main_process():
            if self.last_ckpt is None:
                write_atomically(Path(runner.work_dir) / POINTER, b"", durable=True)
            for folder in {str(self.out_dir), runner.work_dir}:
                remove_leftovers(Path(folder), (self.filename_tmpl.format("*"), POINTER, FINAL))

    def after_train_epoch(self, runner: Runner) -> None:
        """Note whether this epoch is to be saved; its validation comes next."""
        if self.by_epoch:
            last = self.save_last and self.is_last_train_epoch(runner)
            self._due = last or self.every_n_epochs(runner, self.interval, self.save_begin)
            self._unsaved = True

    def before_train_epoch(self, runner: Runner) -> None:
        """Save the epoch before, if that is due."""
        if self._due:
            self._save_epoch(runner)

    def after_train(self, runner: Runner) -> None:
        """Save the last epoch, one at which early stopping ended the training included."""
        if self._due or (self.save_last and self._unsaved):
            self._save_epoch(runner)
        super().after_train(runner)
        self._trained = True

    def after_run(self, runner: Runner) -> None:
        """Save the weights that the training ends with, when every hook is done with them."""
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
        """Turn what mmengine has put into the checkpoint into plain data."""
        if checkpoint["meta"].get("final"):
            for part in checkpoint.keys() - {"meta", "state_dict"}:
                del checkpoint[part]
        else:
            checkpoint["message_hub"] = plain_hub(checkpoint["message_hub"])
        checkpoint["meta"] = plain(checkpoint["meta"], "meta")
        if "param_schedulers" in checkpoint:
            checkpoint["param_schedulers"] = plain_schedulers(checkpoint["param_schedulers"])

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Turn plain data into what mmengine resumes from."""
        if "message_hub" in checkpoint:
            checkpoint["message_hub"] = hub_from_plain(checkpoint["message_hub"])

    def _save_epoch(self, runner: Runner) -> None:
        self._due = self._unsaved = False
        runner.logger.info(f"Saving checkpoint at {runner.epoch} epochs")
        self._save_checkpoint_with_step(runner, runner.epoch, {"epoch": runner.epoch, "iter": runner.iter})

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict[str, Any]) -> None:
        # mmengine's own removes the outdated checkpoint first, and writes `last_checkpoint` in place.
        outdated = self._rotate(runner, step)
        runner.call_hook("before_gather_checkpoint")  # on every process; before_save_checkpoint is called on the first only
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
            kept = f" The checkpoints before it are kept: with room made, --resume goes on from '{before}'." if before else ""
            raise OutputError(f"{str(error).removesuffix(' Choose another path.')}{kept}") from error
        if is_main_process():
            for path in outdated:
                path.unlink(missing_ok=True)

    def _rotate(self, runner: Runner, step: int) -> list[Path]:
        """Return what is outdated once `step` is saved; note which stay."""
        if self.max_keep_ckpts <= 0:
            return []
        steps = [*(kept for kept in self.keep_ckpt_ids if kept != step), step]
        outdated, kept = steps[: -self.max_keep_ckpts], steps[-self.max_keep_ckpts :]
        self.keep_ckpt_ids.clear()
        self.keep_ckpt_ids.extend(kept)
        runner.message_hub.update_info("keep_ckpt_ids", kept)
        return [Path(str(self.out_dir)) / self.filename_tmpl.format(old) for old in outdated]

    def _save_best_checkpoint(self, runner: Runner, metrics: dict[str, Any]) -> None:
        # mmengine's own removes the best checkpoint so far before it writes the new one, unless it knows of none; and it saves the
        # last checkpoint again, unless it knows of none: ours of this epoch is still to come.
        if not self.save_best:
            return
        if "auto" in self.key_indicators:  # the first that there is; here already, as paths are kept by its name
            try:
                self._init_rule(self.rules, [next(iter(metrics))])
            except ValueError as error:
                raise ConfigError(f"save_best='auto': {error} Expected rule='greater' or 'less' beside it.") from error
        for key in self.key_indicators:
            check_monitored(key, metrics, "save_best names")
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
