"""Load and check a training config, and add camtool's hooks, loops and data set wrapper to it."""

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict

from camtool.config.loading import as_mapping
from camtool.config.yaml_config import load_either
from camtool.errors import ConfigError, closest
from camtool.io.atomic import check_writable
from camtool.train.hooks import HOOK_ALIASES

KEYS = (
    *("train_dataloader", "val_dataloader", "train_cfg", "val_cfg", "val_evaluator", "optim_wrapper", "param_scheduler"),
    *("default_hooks", "custom_hooks", "randomness", "work_dir", "env_cfg", "log_level", "log_processor", "visualizer", "vis_backends"),
    *("default_scope", "auto_scale_lr", "data_preprocessor", "resume", "sync_bn", "find_unused_parameters"),
)
"""Keys that `--cfg-options` may set although the config lacks them."""

_HOOKS = (
    "camtool.CurvesHook",
    "camtool.RandomStateHook",
    "mmengine.SyncBuffersHook",
)  # SyncBuffersHook: checkpoints have the batch norms of one process
_RENAMED = {f"camtool.{old}": f"camtool.{new}" for new, old in HOOK_ALIASES.items()}
_REPLACED_HOOKS = ("CheckpointHook", "ParamSchedulerHook")  # mmengine's, replaced by camtool's of the same name
_DEFAULT_HOOKS = ("runtime_info", "timer", "sampler_seed", "logger", "param_scheduler")
_FOREVER = 10**9
_TEMPLATE = re.compile(r"[^{}/\\]*\{\}[^{}/\\]*")
_REQUIRED = ("train_dataloader", "train_cfg", "optim_wrapper")
_VALIDATION_KEYS = ("val_dataloader", "val_cfg", "val_evaluator")


def training_config(
    source: str,
    options: Mapping[str, Any] | None = None,
    *,
    work_dir: str | None = None,
    amp: bool = False,
    strict: bool = False,
    launcher: str = "none",
) -> Config:
    """Return the training config that `source` names, complete for `train`.

    Args:
        source: path of a config of OpenMMLab, or of a short YAML file (`camtool.config.yaml_config`).
        options: overrides, {"train_cfg.max_epochs": 3}.
        work_dir: folder for checkpoints and logs; None: the config's, else `outputs/train/NAME`.
        amp: use mixed precision.
        strict: end the training at the first unreadable image, instead of skipping it.
        launcher: "none", "pytorch", "slurm" or "mpi".

    Raises:
        ConfigError: if the config does not exist, does not describe a training by epochs, or `options` are misspelt.
        OutputError: if the work directory is not writable.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "training.py"
        ...     _ = path.write_text(
        ...         "model = dict(type='ImageClassifier')\\n"
        ...         "train_dataloader = dict(dataset=dict(type='camtool.Shapes'))\\n"
        ...         "train_cfg = dict(max_epochs=10)\\n"
        ...         "optim_wrapper = dict(optimizer=dict(type='Adam'))\\n"
        ...     )
        ...     config = training_config(str(path), {"train_cfg.max_epochs": 3}, work_dir=folder)
        >>> config.train_cfg
        {'max_epochs': 3, 'type': 'camtool.TrainLoop'}
    """
    config = load_either(source, options, KEYS).config
    _check(config, source)
    config.work_dir = work_dir or config.get("work_dir") or str(Path("outputs/train") / Path(config.filename or source).stem)
    check_writable(Path(config.work_dir) / "last_checkpoint")
    config.setdefault("default_scope", "mmpretrain")
    config.setdefault("randomness", ConfigDict(seed=None))
    config.setdefault("launcher", "none")
    if config.get("test_dataloader"):  # for `camtool vis`; training does not test, but mmengine requires all three keys or none
        config.setdefault("test_cfg", ConfigDict())
        if config.get("test_evaluator") is None:
            config.test_evaluator = config.get("val_evaluator") or []
    config.resume = False  # `train` finds the checkpoint itself
    remarks: list[str] = []
    _set_loops(config, source)
    for name in ("train_dataloader", "val_dataloader"):
        if config.get(name):
            _set_loader(config[name])
    _set_schedulers(config)
    _set_hooks(config, remarks, strict=strict)
    _set_visualizer(config, remarks)
    _set_precision(config, source, amp=amp)
    if launcher != "none" and not torch.cuda.is_available():
        _set_processes_without_gpu(config)
    config.remarks = remarks
    return config


def _check(config: Config, source: str) -> None:
    for name in (*_REQUIRED, "val_dataloader", "val_cfg"):
        as_mapping(config.get(name), name)
    missing = [name for name in _REQUIRED if not config.get(name)]
    if missing:
        raise ConfigError(
            f"Config '{source}' does not describe a training: it has no '{missing[0]}'{closest(missing[0], config.keys())}; "
            f"expected {', '.join(_REQUIRED)}."
        )
    missing = [name for name in _VALIDATION_KEYS if config.get(name) is None]
    if missing and len(missing) < len(_VALIDATION_KEYS):
        raise ConfigError(f"Config '{source}' has no '{missing[0]}'; expected all of {', '.join(_VALIDATION_KEYS)}, or none of them.")
    for name in ("train_dataloader", "val_dataloader"):
        if config.get(name) and not config[name].get("dataset"):
            raise ConfigError(f"'{name}' of config '{source}' has no 'dataset'; expected a dict such as dict(type='CustomDataset', …).")


def _set_loops(config: Config, source: str) -> None:
    train = config.train_cfg
    loop_type = train.get("type")
    if loop_type == "IterBasedTrainLoop" or (loop_type is None and not train.get("by_epoch", True)):
        raise ConfigError(f"Config '{source}' trains by iterations; expected training by epochs, train_cfg = dict(by_epoch=True, …).")
    if loop_type in (None, "EpochBasedTrainLoop"):
        train.pop("by_epoch", None)
        train.type = "camtool.TrainLoop"
    if config.get("val_cfg") is not None and config.val_cfg.get("type") in (None, "ValLoop"):
        config.val_cfg.type = "camtool.ValLoop"


def _set_loader(loader: ConfigDict) -> None:
    if isinstance(loader.dataset, Mapping) and loader.dataset.get("type") != "camtool.SkipBroken":
        _refuse_truncated(loader.dataset)
        loader.dataset = ConfigDict(type="camtool.SkipBroken", dataset=loader.dataset)
    collate = loader.get("collate_fn", ConfigDict(type="pseudo_collate"))
    if not isinstance(collate, Mapping):
        loader.collate_fn = ConfigDict(type="camtool.collate_readable", collate=collate)
    elif collate.get("type") != "camtool.collate_readable":
        loader.collate_fn = ConfigDict({**collate, "type": "camtool.collate_readable", "collate": collate.get("type")})
    loader.setdefault("worker_init_fn", ConfigDict(type="camtool.seed_worker"))
    loader.persistent_workers = False  # checkpoints do not have the states of their random generators


def _refuse_truncated(part: Any) -> None:
    # OpenCV 4 decodes a truncated JPEG partly, without an error; OpenCV 5 gives no reason. Pillow does, and `camtool vis` uses it, too.
    if isinstance(part, Mapping):
        if str(part.get("type")).rpartition(".")[2] == "LoadImageFromFile":
            part.setdefault("imdecode_backend", "pillow")  # type: ignore[attr-defined]  # a ConfigDict
        for value in part.values():
            _refuse_truncated(value)
    elif isinstance(part, (list, tuple)):
        for value in part:
            _refuse_truncated(value)


def _set_schedulers(config: Config) -> None:
    # mmengine ends schedulers at max_epochs. A plateau scheduler would miss the last validation, which comes after the end of that epoch,
    # and all validations of a training that is resumed with more epochs.
    schedulers = config.get("param_scheduler") or []
    for scheduler in [schedulers] if isinstance(schedulers, Mapping) else schedulers:
        if isinstance(scheduler, Mapping) and str(scheduler.get("type")).rpartition(".")[2].startswith("ReduceOnPlateau"):
            scheduler.setdefault("end", _FOREVER)  # type: ignore[attr-defined]  # a ConfigDict


def _set_hooks(config: Config, remarks: list[str], *, strict: bool) -> None:
    hooks = {"param_scheduler": {"type": "ParamSchedulerHook"}, **as_mapping(config.get("default_hooks"), "default_hooks")}
    # None removes one of mmengine's default hooks; for any other name, such as a hook of a base config, mmengine would raise.
    default = {name: _replaced(hook) for name, hook in hooks.items() if hook is not None or name in _DEFAULT_HOOKS}
    default["checkpoint"] = _replaced(_checkpoint_hook(hooks))
    config.default_hooks = default
    custom = [ConfigDict(hook) for hook in config.get("custom_hooks") or []]
    for hook in custom:
        hook.type = _RENAMED.get(hook.get("type"), hook.get("type"))
        if hook.get("type") in ("EarlyStoppingHook", "mmengine.EarlyStoppingHook"):
            hook.type = "camtool.EarlyStoppingHook"
            hook.setdefault("min_delta", 0.1)  # mmengine's
            if not hook.get("strict"):
                remarks.append("EarlyStoppingHook is replaced by camtool's, whose metric must exist and which restores the best weights.")
    present = {hook.get("type") for hook in (*default.values(), *custom) if isinstance(hook, Mapping)}
    custom += [ConfigDict(type=hook_type) for hook_type in _HOOKS if hook_type not in present]
    if "camtool.BrokenImagesHook" not in present:
        custom.append(ConfigDict(type="camtool.BrokenImagesHook", strict=strict))
    for hook in custom:
        if strict and hook.get("type") == "camtool.BrokenImagesHook":
            hook.strict = True
    config.custom_hooks = custom


def _replaced(hook: Any) -> Any:
    hook_type = str(hook.get("type")).removeprefix("mmengine.") if isinstance(hook, Mapping) else None
    return {**hook, "type": f"camtool.{hook_type}"} if hook_type in _REPLACED_HOOKS else hook


def _checkpoint_hook(hooks: Mapping[str, Any]) -> dict[str, Any]:
    settings = as_mapping(hooks.get("checkpoint"), "default_hooks.checkpoint")
    if hooks.get("checkpoint", settings) is None:
        settings = {"interval": -1, "save_last": False}  # only the weights at the end
    checkpoint = {"type": "CheckpointHook", "interval": 1, **settings}
    if not checkpoint.get("by_epoch", True):
        raise ConfigError(
            "default_hooks.checkpoint has by_epoch=False; expected by_epoch=True, since training is saved and resumed by epochs."
        )
    template = checkpoint.get("filename_tmpl")
    if template is not None and not _TEMPLATE.fullmatch(str(template)):
        raise ConfigError(f"default_hooks.checkpoint.filename_tmpl is {template!r}; expected a file name with one {{}} for the epoch.")
    return checkpoint


def _set_visualizer(config: Config, remarks: list[str]) -> None:
    visualizer = config.get("visualizer") or ConfigDict(type="Visualizer")
    backends = [ConfigDict(backend) for backend in visualizer.get("vis_backends") or config.get("vis_backends") or []]
    for backend_type in ("LocalVisBackend", "TensorboardVisBackend"):
        if backend_type not in [backend.get("type") for backend in backends]:
            backends.append(ConfigDict(type=backend_type))
    if importlib.util.find_spec("tensorboard") is None:
        backends = [backend for backend in backends if backend.get("type") != "TensorboardVisBackend"]
        remarks.append("TensorBoard is not installed; no events are written. To install it: pip install 'camtool[train]'.")
    visualizer.vis_backends = backends
    config.visualizer = visualizer


def _set_precision(config: Config, source: str, *, amp: bool) -> None:
    wrapper = config.optim_wrapper
    kind = wrapper.get("type", "OptimWrapper")
    if torch.backends.mps.is_available() and not torch.cuda.is_available() and amp:
        raise ConfigError("--amp: mixed precision is not supported on the device mps; train without --amp.")
    if amp and kind == "OptimWrapper":
        wrapper.type = "AmpOptimWrapper" if torch.cuda.is_available() else "camtool.BFloat16OptimWrapper"
    elif amp and kind not in ("AmpOptimWrapper", "camtool.BFloat16OptimWrapper"):
        raise ConfigError(f"--amp: config '{source}' has the optimizer wrapper '{kind}'; expected OptimWrapper or AmpOptimWrapper.")
    elif kind == "AmpOptimWrapper" and not torch.cuda.is_available():
        if not amp:
            raise ConfigError(f"Config '{source}' uses AmpOptimWrapper, which needs CUDA. Use --amp to train in bfloat16 on this device.")
        wrapper.type = "camtool.BFloat16OptimWrapper"
        for key in ("loss_scale", "dtype", "use_fsdp"):
            wrapper.pop(key, None)


def _set_processes_without_gpu(config: Config) -> None:
    # mmengine's default settings require a GPU.
    wrapper = ConfigDict(type="MMDistributedDataParallel", device_ids=None, broadcast_buffers=False)
    wrapper.find_unused_parameters = config.get("find_unused_parameters", False)
    configured = config.get("model_wrapper_cfg") or ConfigDict()
    if configured.get("type", wrapper.type) == wrapper.type:
        config.model_wrapper_cfg = ConfigDict(wrapper, **configured)
    config.setdefault("env_cfg", ConfigDict()).setdefault("dist_cfg", ConfigDict()).backend = "gloo"
