"""Run a training: mmengine's Runner with safe loading of checkpoints, and errors for unsuitable configs."""

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
from camtool.models.checkpoints import read_checkpoint
from camtool.registry import unknown_type
from camtool.train.distributed import check_launcher, joined
from camtool.train.hooks.broken_images_hook import KEY as BROKEN
from camtool.train.hooks.checkpoint_hook import FINAL, TEMPLATE
from camtool.train.hooks.curves_hook import FILE as CURVES
from camtool.train.hooks.early_stopping_hook import EarlyStoppingHook
from camtool.train.resume import ResumePoint, check_same_network, check_same_optimizer, find_resume_point

_NOT_WRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)

_RUNS = itertools.count()


@dataclass(frozen=True)
class Trained:
    """Results of a training."""

    epochs: int
    """Number of epochs trained."""
    checkpoint: Path
    """File of the final weights; with early stopping, the best."""
    curves: Path
    """File of the plot of loss and accuracy."""
    metrics: dict[str, float]
    """Metrics of the last validation."""
    best: str
    """Epoch and score of the best weights, "3: accuracy/top1 91.0000"; "" without early stopping."""
    broken: dict[str, str]
    """Images that were skipped, {path: reason}."""


class TrainingRunner(Runner):  # type: ignore[misc]  # mmengine has no types
    """mmengine's Runner, with checkpoints loaded as plain data, without running code from them."""

    point: ResumePoint | None = None
    """Checkpoint to resume from; None: start a new training."""
    remarks: tuple[str, ...] = ()
    """Texts to log as warnings at the start."""
    optim_wrapper: Any
    started = False
    """Whether setup is complete; errors before are caused by the config."""

    def load_or_resume(self) -> None:
        """Resume from `point`, else load the config's `load_from`; log the remarks and check the numbers of classes first."""
        for remark in self.remarks:
            self.logger.warning(remark)
        _check_classes(self._network, "train_dataloader", self.train_dataloader.dataset)
        if self.val_loop is not None:
            _check_classes(self._network, "val_dataloader", self.val_dataloader.dataset)
        if self.point is not None:
            self._resume_from(self.point)
        else:
            super().load_or_resume()
        self.started = True

    def load_checkpoint(self, filename: str, *_: Any, **__: Any) -> dict[str, Any]:
        """Load the weights of `point`, which must fit exactly; or those weights of `load_from` that fit.

        Raises:
            CheckpointError: if they are missing, unsafe, unreadable or of another network.
        """
        model = self._network
        if self.point is not None:
            check_same_network(model, self.point)
            content = dict(self.point.content)
            self.call_hook("after_load_checkpoint", checkpoint=content)
            model.load_state_dict(content["state_dict"])
            return content
        current = model.state_dict()
        cam = self.cfg.get("cam") or {}
        found = read_checkpoint(filename).weights_for(current, cam.get("checkpoint_keys") or (), cam.get("checkpoint_key") or "")
        state = found.state
        fitting = {name: value for name, value in state.items() if name in current and current[name].shape == value.shape}
        if not fitting:
            raise CheckpointError(
                f"No weights in '{filename}', the config's 'load_from', fit this network. Give a checkpoint of this network, or none."
            )
        model.load_state_dict(fitting, strict=False)
        self.logger.info(
            f"Loaded {len(fitting)} of {len(current)} weights from '{filename}'; {len(state) - len(fitting)} weights in it do not fit."
        )
        self._has_loaded = True
        return {"state_dict": fitting}

    @property
    def _network(self) -> nn.Module:
        return self.model.module if is_model_wrapper(self.model) else self.model

    def _resume_from(self, point: ResumePoint) -> None:
        self._resume = True  # read by hooks: EMAHook, SwitchRecipeHook
        self.optim_wrapper = self.build_optim_wrapper(self.optim_wrapper)
        if not isinstance(self.optim_wrapper, Mapping):
            check_same_optimizer(self.optim_wrapper.optimizer.param_groups, point)
        try:
            self.resume(str(point.path))
        except (KeyError, ValueError, TypeError, IndexError, RuntimeError) as error:
            raise CheckpointError(
                f"Cannot resume from '{point.path}': {_reason(error)} Resume with the config it was trained with."
            ) from error
        self.logger.info(f"Resumed from '{point.path}' after {self.epoch} epochs.")


def train(config: Config, source: str, *, resume: bool = False, launcher: str = "none") -> Trained | None:
    """Run the training of a config from `training_config` and return its results; None on all processes but the first.

    Args:
        source: the config's name in messages.
        resume: continue from the newest complete checkpoint in the work directory; without one, start a new training.
        launcher: "none", "pytorch", "slurm" or "mpi".

    Raises:
        CamtoolError: if the network or data cannot be built, no checkpoint can be resumed from, a file cannot be written, …

    A training of seconds, with its results in `work_dirs/lenet_digits/`::

        path = "configs/resnet_cam/lenet_digits.py"
        trained = train(training_config(path, {"train_cfg.max_epochs": 1}), path)
        trained.checkpoint, trained.metrics["accuracy/top1"]
    """
    check_launcher(launcher)
    with joined(launcher):
        return _train(config, source, resume=resume, launcher=launcher)


def _train(config: Config, source: str, *, resume: bool, launcher: str) -> Trained | None:
    remarks: list[str] = list(config.pop("remarks", ()))
    point = _resume_point(config, remarks) if resume else None
    config.launcher = launcher
    run = next(_RUNS)
    if run:  # mmengine keeps loggers and message hubs by name and second, so two trainings in one process could share them
        config.experiment_name = f"{Path(config.filename or source).stem}_{run}"
    runner: TrainingRunner | None = None
    try:
        Path(config.work_dir).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"Cannot create the work directory '{config.work_dir}': {error.strerror}. Choose another --work-dir.") from error
    try:
        with DefaultScope.overwrite_default_scope(config.default_scope):  # restores the scope, which the Runner changes
            _check_optimizer(config)
            runner = TrainingRunner.from_cfg(config)
            runner.point, runner.remarks = point, tuple(remarks)
            runner.train()
    except CamtoolError as error:
        raise type(error)(_without_class(str(error))) from error
    except OSError as error:
        if error.errno in _NOT_WRITABLE:
            raise OutputError(f"Cannot write '{error.filename or config.work_dir}': {error.strerror or error}.") from error
        if runner is None or not runner.started:
            raise _setup_error(error, source) from error
        raise
    except Exception as error:
        if runner is None or not runner.started:
            raise _setup_error(error, source) from error
        raise
    return _results(runner) if is_main_process() else None


def _check_classes(network: nn.Module, key: str, dataset: Any) -> None:
    """Raise ConfigError if the head has another number of classes than the data set of the config's `key`.

    Heads without `num_classes`, multi-label heads and data sets without class names are not checked.
    """
    head = getattr(network, "head", None)
    classes = getattr(head, "num_classes", None)
    names = names_in_dataset(dataset)
    if classes is None or names is None or any("MultiLabel" in base.__name__ for base in type(head).__mro__):
        return
    if len(names) != classes:
        raise ConfigError(
            f"The data set of '{key}' has {len(names)} classes, the network's head {classes}. Set model.head.num_classes (of camtool's "
            f"models and in the YAML form: model.num_classes) to {len(names)}, or give another data set."
        )


def _check_optimizer(config: Config) -> None:
    # For an unknown name, mmengine tries to call None.
    optimizer = config.optim_wrapper.get("optimizer", {}).get("type")
    with OPTIMIZERS.switch_scope_and_registry(None) as registry:
        if isinstance(optimizer, str) and registry.get(optimizer) is None:
            near = closest(optimizer, OPTIMIZERS.module_dict)
            raise ConfigError(f"Config '{config.filename}': unknown optimizer type '{optimizer}'{near}.")


def _resume_point(config: Config, remarks: list[str]) -> ResumePoint | None:
    work_dir = Path(config.work_dir)
    hook = config.default_hooks.checkpoint
    out_dir = hook.get("out_dir")
    folder = Path(out_dir) / work_dir.name if out_dir else work_dir
    point = find_resume_point(folder, work_dir, remarks.append, hook.get("filename_tmpl") or TEMPLATE)
    if point is None:
        remarks.append(f"No checkpoint in '{folder}' to resume from; a new training is started.")
        return None
    # Set before anything is built, since the sampler keeps its seed.
    seed, configured = point.content["meta"].get("seed"), config.randomness.get("seed")
    if configured is not None and seed != configured:
        remarks.append(f"The seed of the checkpoint, {seed}, is used instead of the config's, {configured}.")
    config.randomness.seed = seed
    return point


def _results(runner: TrainingRunner) -> Trained:
    hub = runner.message_hub
    metrics = {
        key.removeprefix("val/"): float(history.current())
        for key, history in hub.log_scalars.items()
        if key.startswith("val/") and not key.endswith("time")
    }
    folder = next(Path(str(hook.out_dir)) for hook in runner.hooks if hasattr(hook, "last_ckpt"))
    best = next((hook.best for hook in runner.hooks if isinstance(hook, EarlyStoppingHook)), "")
    return Trained(runner.epoch, folder / FINAL, Path(runner.work_dir) / CURVES, metrics, best, dict(hub.get_info(BROKEN) or {}))


def _setup_error(error: Exception, source: str) -> ConfigError:
    return ConfigError(f"Cannot set up the training of '{source}': {_reason(error)}")


_CLASS_PREFIX = re.compile(r"^class `\w+` in \S+?: ")


def _without_class(text: str) -> str:
    return _CLASS_PREFIX.sub("", text)  # mmengine prepends the class that was being built


def _reason(error: Exception) -> str:
    text = _without_class(str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error))
    unknown = unknown_type(error)
    if unknown:
        return f"unknown {unknown[1]} type '{unknown[0]}'."
    return f"{type(error).__name__}: {' '.join(text.split())[:400].removesuffix('.')}."
