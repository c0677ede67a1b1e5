"""mmengine's Runner, which resumes from data alone and from the very network it trains."""

import errno
import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.model import is_model_wrapper
from mmengine.registry import OPTIMIZERS, DefaultScope
from mmengine.runner import Runner
from torch import nn

from camtool.datasets.class_names import names_in_dataset
from camtool.errors import CamtoolError, CheckpointError, ConfigError, OutputError, closest
from camtool.models.checkpoints import best_fit, read_checkpoint
from camtool.registry import unknown_type
from camtool.train.distributed import check_launcher, joined
from camtool.train.hooks.broken_images_hook import KEY as BROKEN
from camtool.train.hooks.checkpoint_hook import FINAL, TEMPLATE
from camtool.train.hooks.curves_hook import FILE as CURVES
from camtool.train.hooks.early_stopping_hook import EarlyStoppingHook
from camtool.train.resume import ResumePoint, check_same_network, check_same_optimizer, find_resume_point

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)

_RUNS = itertools.count()


@dataclass(frozen=True)
class Trained:
    """What a training has left."""

    epochs: int
    checkpoint: Path
    """The weights at the end; with early stopping, the best."""
    curves: Path
    metrics: dict[str, float]
    """Of the last validation."""
    best: str
    """Which epoch's weights those at the end are, and by which score; "" where early stopping does not choose."""
    broken: dict[str, str]
    """Pictures that were skipped, {path: reason}."""


class TrainingRunner(Runner):  # type: ignore[misc]  # mmengine has no types
    """mmengine's Runner; weights and states are read without running anything from their files."""

    point: ResumePoint | None = None
    remarks: tuple[str, ...] = ()
    optim_wrapper: Any
    started = False
    """Whether all is set up: what fails before is the config's fault."""

    def load_or_resume(self) -> None:
        """Resume from `point`, else begin with the weights of the config's `load_from`."""
        for remark in self.remarks:
            self.logger.warning(remark)
        _check_classes(self._network, "train_dataloader", self.train_dataloader.dataset)
        if self.val_loop is not None:
            _check_classes(self._network, "val_dataloader", self.val_dataloader.dataset)
        if self.point is not None:
            self._go_on_from(self.point)
        else:
            super().load_or_resume()
        self.started = True

    def load_checkpoint(self, filename: str, *_: Any, **__: Any) -> dict[str, Any]:
        """Load the weights to go on from, which must fit, or those to begin with, of which what fits is taken.

        Raises:
            CheckpointError: if they are missing, unsafe, unreadable or another network's.
        """
        model = self._network
        if self.point is not None:
            check_same_network(model, self.point)
            content = dict(self.point.content)
            self.call_hook("after_load_checkpoint", checkpoint=content)
            model.load_state_dict(content["state_dict"])
            return content
        own = model.state_dict()
        state = best_fit(own, read_checkpoint(filename).state, (self.cfg.get("cam") or {}).get("checkpoint_keys") or ())
        fitting = {name: value for name, value in state.items() if name in own and own[name].shape == value.shape}
        if not fitting:
            raise CheckpointError(f"Nothing in '{filename}', the config's 'load_from', fits this network.")
        model.load_state_dict(fitting, strict=False)
        self.logger.info(f"{len(fitting)} of {len(own)} weights are taken from '{filename}', {len(state) - len(fitting)} in it do not fit.")
        self._has_loaded = True
        return {"state_dict": fitting}

    @property
    def _network(self) -> nn.Module:
        return self.model.module if is_model_wrapper(self.model) else self.model

    def _go_on_from(self, point: ResumePoint) -> None:
        self._resume = True  # which is how a hook learns of it: EMAHook, SwitchRecipeHook
        self.optim_wrapper = self.build_optim_wrapper(self.optim_wrapper)
        if not isinstance(self.optim_wrapper, Mapping):
            check_same_optimizer(self.optim_wrapper.optimizer.param_groups, point)
        try:
            self.resume(str(point.path))
        except (KeyError, ValueError, TypeError, IndexError, RuntimeError) as error:
            raise CheckpointError(
                f"Cannot resume from '{point.path}': {_explained(error)} Resume with the config it was trained with."
            ) from error
        self.logger.info(f"Resumed from '{point.path}', {self.epoch} epochs done.")


def train(config: Config, source: str, *, resume: bool = False, launcher: str = "none") -> Trained | None:
    """Train what `training_config` has returned; return what is left of it, or None on all processes but the first.

    Args:
        source: what the config is called in errors.
        resume: go on from the newest whole checkpoint in the work directory; from none, begin anew.

    Raises:
        CamtoolError: if the config describes no training, there is nothing whole to resume from, a file cannot be written, …
    """
    check_launcher(launcher)
    with joined(launcher):
        return _train(config, source, resume=resume, launcher=launcher)


def _train(config: Config, source: str, *, resume: bool, launcher: str) -> Trained | None:
    remarks: list[str] = list(config.pop("remarks", ()))
    point = _resume_point(config, remarks) if resume else None
    config.launcher = launcher
    run = next(_RUNS)
    if run:  # mmengine keeps loggers and message hubs by name and second: two trainings of one process would share theirs
        config.experiment_name = f"{Path(config.filename or source).stem}_{run}"
    runner: TrainingRunner | None = None
    try:
        Path(config.work_dir).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"Cannot make the work directory '{config.work_dir}': {error.strerror}. Choose another.") from error
    try:
        with DefaultScope.overwrite_default_scope(config.default_scope):  # as before when this is done: the Runner leaves its own
            _check_optimizer(config)
            runner = TrainingRunner.from_cfg(config)
            runner.point, runner.remarks = point, tuple(remarks)
            runner.train()
    except CamtoolError as error:
        raise type(error)(_without_class(str(error))) from error
    except OSError as error:
        if error.errno in _FULL:
            raise OutputError(f"Cannot write '{error.filename or config.work_dir}': {error.strerror or error}.") from error
        if runner is None or not runner.started:
            raise _of_the_config(error, source) from error
        raise
    except Exception as error:
        if runner is None or not runner.started:
            raise _of_the_config(error, source) from error
        raise
    return _left_by(runner) if is_main_process() else None


def _check_classes(network: nn.Module, key: str, dataset: Any) -> None:
    """Raise ConfigError where the head decides between more or fewer classes than the data set of the config's `key` has.

    A head that does not say how many, or that gives several labels, is let be, and so is a data set that names no classes.
    """
    head = getattr(network, "head", None)
    classes = getattr(head, "num_classes", None)
    names = names_in_dataset(dataset)
    if classes is None or names is None or any("MultiLabel" in kind.__name__ for kind in type(head).__mro__):
        return
    if len(names) != classes:
        raise ConfigError(
            f"The data set of '{key}' has {len(names)} classes, the network's head {classes}. Set model.head.num_classes, or "
            f"model.num_classes where the model is one of camtool's or the config the YAML form, to {len(names)}; or give the right data."
        )


def _check_optimizer(config: Config) -> None:
    # mmengine builds it by calling what it has found: None, for a name that does not exist.
    kind = config.optim_wrapper.get("optimizer", {}).get("type")
    with OPTIMIZERS.switch_scope_and_registry(None) as registry:
        if isinstance(kind, str) and registry.get(kind) is None:
            near = closest(kind, OPTIMIZERS.module_dict)
            raise ConfigError(f"Config '{config.filename}': there is no optimizer of the type '{kind}'{near}.")


def _resume_point(config: Config, remarks: list[str]) -> ResumePoint | None:
    work_dir = Path(config.work_dir)
    checkpoints = config.default_hooks.checkpoint
    elsewhere = checkpoints.get("out_dir")
    folder = Path(elsewhere) / work_dir.name if elsewhere else work_dir
    point = find_resume_point(folder, work_dir, remarks.append, checkpoints.get("filename_tmpl") or TEMPLATE)
    if point is None:
        remarks.append(f"No checkpoint in '{folder}' to resume from: the training begins anew.")
        return None
    # Before anything is built: the sampler keeps the seed that it is built with.
    seed, own = point.content["meta"].get("seed"), config.randomness.get("seed")
    if own is not None and seed != own:
        remarks.append(f"The seed is that of the checkpoint, {seed}, not the config's, {own}.")
    config.randomness.seed = seed
    return point


def _left_by(runner: TrainingRunner) -> Trained:
    hub = runner.message_hub
    metrics = {
        key.removeprefix("val/"): float(history.current())
        for key, history in hub.log_scalars.items()
        if key.startswith("val/") and not key.endswith("time")
    }
    folder = next(Path(str(hook.out_dir)) for hook in runner.hooks if hasattr(hook, "last_ckpt"))
    best = next((hook.best for hook in runner.hooks if isinstance(hook, EarlyStoppingHook)), "")
    return Trained(runner.epoch, folder / FINAL, Path(runner.work_dir) / CURVES, metrics, best, dict(hub.get_info(BROKEN) or {}))


def _of_the_config(error: Exception, source: str) -> ConfigError:
    return ConfigError(f"Cannot set up the training of '{source}': {_explained(error)}")


_OF_CLASS = re.compile(r"^class `\w+` in \S+?: ")


def _without_class(text: str) -> str:
    return _OF_CLASS.sub("", text)  # mmengine adds which class was being built


def _explained(error: Exception) -> str:
    text = _without_class(str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error))
    unknown = unknown_type(error)
    if unknown:
        return f"there is no {unknown[1]} of the type '{unknown[0]}'."
    return f"{type(error).__name__}: {' '.join(text.split())[:400].removesuffix('.')}."
