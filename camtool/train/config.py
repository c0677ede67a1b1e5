"""A config as it is trained: read, checked, and with what camtool adds to mmengine's Runner."""

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
"""What `--cfg-options` may set although the config lacks it."""

_HOOKS = ("camtool.CurvesHook", "camtool.RandomStateHook", "mmengine.SyncBuffersHook")  # the last: one process's batch norms are saved
_RENAMED = {f"camtool.{old}": f"camtool.{new}" for new, old in HOOK_ALIASES.items()}
_OURS = ("CheckpointHook", "ParamSchedulerHook")  # where a config says mmengine's
_DEFAULT_HOOKS = ("runtime_info", "timer", "sampler_seed", "logger", "param_scheduler")
_FOREVER = 10**9
_TEMPLATE = re.compile(r"[^{}/\\]*\{\}[^{}/\\]*")
_NEEDED = ("train_dataloader", "train_cfg", "optim_wrapper")
_OF_VALIDATION = ("val_dataloader", "val_cfg", "val_evaluator")


def training_config(
    source: str,
    options: Mapping[str, Any] | None = None,
    *,
    work_dir: str | None = None,
    amp: bool = False,
    strict: bool = False,
    launcher: str = "none",
) -> Config:
    """Return the config that `source` names, a `.py` file or a YAML file in the form of `yaml_form`, ready for `train`.

    Args:
        options: overrides, {"train_cfg.max_epochs": 3}.
        work_dir: else the config's, else `outputs/train/` and its name.
        amp: mixed precision.
        strict: a picture that cannot be read ends the training.

    Raises:
        ConfigError: if there is no such config, it describes no training by epochs, or `options` are misspelt.
        OutputError: if nothing can be written in the work directory.
    """
    config = load_either(source, options, KEYS).config
    _check(config, source)
    config.work_dir = work_dir or config.get("work_dir") or str(Path("outputs/train") / Path(config.filename or source).stem)
    check_writable(Path(config.work_dir) / "last_checkpoint")
    config.setdefault("default_scope", "mmpretrain")
    config.setdefault("randomness", ConfigDict(seed=None))
    config.setdefault("launcher", "none")
    if config.get("test_dataloader"):  # which `camtool vis` reads; nothing is tested here, but mmengine wants all three or none
        config.setdefault("test_cfg", ConfigDict())
        if config.get("test_evaluator") is None:
            config.test_evaluator = config.get("val_evaluator") or []
    config.resume = False  # `train` looks for the checkpoint itself
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
    for name in (*_NEEDED, "val_dataloader", "val_cfg"):
        as_mapping(config.get(name), name)
    missing = [name for name in _NEEDED if not config.get(name)]
    if missing:
        raise ConfigError(
            f"Config '{source}' describes no training: it has no '{missing[0]}'{closest(missing[0], config.keys())}; "
            f"expected {', '.join(_NEEDED)}."
        )
    absent = [name for name in _OF_VALIDATION if config.get(name) is None]
    if absent and len(absent) < len(_OF_VALIDATION):
        raise ConfigError(f"Config '{source}' has no '{absent[0]}'; expected all of {', '.join(_OF_VALIDATION)}, or none of them.")
    for name in ("train_dataloader", "val_dataloader"):
        if config.get(name) and not config[name].get("dataset"):
            raise ConfigError(f"'{name}' of config '{source}' has no 'dataset'.")


def _set_loops(config: Config, source: str) -> None:
    train = config.train_cfg
    kind = train.get("type")
    if kind == "IterBasedTrainLoop" or (kind is None and not train.get("by_epoch", True)):
        raise ConfigError(f"Config '{source}' trains by iterations; camtool trains by epochs: expected train_cfg = dict(by_epoch=True, …).")
    if kind in (None, "EpochBasedTrainLoop"):
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
    loader.persistent_workers = False  # their generators' states would be in no checkpoint


def _refuse_truncated(part: Any) -> None:
    # OpenCV 4 decodes what is there of a truncated JPEG and says nothing; OpenCV 5 does not say what is wrong. Pillow does, and
    # `camtool vis` reads by Pillow too.
    if isinstance(part, Mapping):
        if str(part.get("type")).rpartition(".")[2] == "LoadImageFromFile":
            part.setdefault("imdecode_backend", "pillow")  # type: ignore[attr-defined]  # a ConfigDict
        for value in part.values():
            _refuse_truncated(value)
    elif isinstance(part, (list, tuple)):
        for value in part:
            _refuse_truncated(value)


def _set_schedulers(config: Config) -> None:
    # mmengine lets a scheduler end with max_epochs. One that looks at the validation would not see the last one, which comes after that
    # epoch's end; and, resumed for more epochs, it would see none of them.
    schedulers = config.get("param_scheduler") or []
    for scheduler in [schedulers] if isinstance(schedulers, Mapping) else schedulers:
        if isinstance(scheduler, Mapping) and str(scheduler.get("type")).rpartition(".")[2].startswith("ReduceOnPlateau"):
            scheduler.setdefault("end", _FOREVER)  # type: ignore[attr-defined]  # a ConfigDict


def _set_hooks(config: Config, remarks: list[str], *, strict: bool) -> None:
    given = {"param_scheduler": {"type": "ParamSchedulerHook"}, **as_mapping(config.get("default_hooks"), "default_hooks")}
    # None takes one of mmengine's hooks away, and is an error to it for any other: a hook of a base config that is not wanted.
    default = {name: _ours(hook) for name, hook in given.items() if hook is not None or name in _DEFAULT_HOOKS}
    default["checkpoint"] = _ours(_checkpoints(given))
    config.default_hooks = default
    custom = [ConfigDict(hook) for hook in config.get("custom_hooks") or []]
    for hook in custom:
        hook.type = _RENAMED.get(hook.get("type"), hook.get("type"))
        if hook.get("type") in ("EarlyStoppingHook", "mmengine.EarlyStoppingHook"):
            hook.type = "camtool.EarlyStoppingHook"
            hook.setdefault("min_delta", 0.1)  # mmengine's
            if not hook.get("strict"):
                remarks.append("EarlyStoppingHook is camtool's: it needs its metric, and keeps the best weights.")
    known = {hook.get("type") for hook in (*default.values(), *custom) if isinstance(hook, Mapping)}
    custom += [ConfigDict(type=kind) for kind in _HOOKS if kind not in known]
    if "camtool.BrokenImagesHook" not in known:
        custom.append(ConfigDict(type="camtool.BrokenImagesHook", strict=strict))
    for hook in custom:
        if strict and hook.get("type") == "camtool.BrokenImagesHook":
            hook.strict = True
    config.custom_hooks = custom


def _ours(hook: Any) -> Any:
    kind = str(hook.get("type")).removeprefix("mmengine.") if isinstance(hook, Mapping) else None
    return {**hook, "type": f"camtool.{kind}"} if kind in _OURS else hook


def _checkpoints(default: Mapping[str, Any]) -> dict[str, Any]:
    given = as_mapping(default.get("checkpoint"), "default_hooks.checkpoint")
    if default.get("checkpoint", given) is None:
        given = {"interval": -1, "save_last": False}  # nothing but the weights at the end
    checkpoint = {"type": "CheckpointHook", "interval": 1, **given}
    if not checkpoint.get("by_epoch", True):
        raise ConfigError("default_hooks.checkpoint has by_epoch=False; camtool trains, and resumes, by epochs: expected by_epoch=True.")
    template = checkpoint.get("filename_tmpl")
    if template is not None and not _TEMPLATE.fullmatch(str(template)):
        raise ConfigError(f"default_hooks.checkpoint.filename_tmpl is {template!r}; expected a file's name with one {{}} for the epoch.")
    return checkpoint


def _set_visualizer(config: Config, remarks: list[str]) -> None:
    visualizer = config.get("visualizer") or ConfigDict(type="Visualizer")
    backends = [ConfigDict(backend) for backend in visualizer.get("vis_backends") or config.get("vis_backends") or []]
    for kind in ("LocalVisBackend", "TensorboardVisBackend"):
        if kind not in [backend.get("type") for backend in backends]:
            backends.append(ConfigDict(type=kind))
    if importlib.util.find_spec("tensorboard") is None:
        backends = [backend for backend in backends if backend.get("type") != "TensorboardVisBackend"]
        remarks.append("TensorBoard is not installed, so that no events are written for it: pip install 'camtool[train]' installs it.")
    visualizer.vis_backends = backends
    config.visualizer = visualizer


def _set_precision(config: Config, source: str, *, amp: bool) -> None:
    wrapper = config.optim_wrapper
    kind = wrapper.get("type", "OptimWrapper")
    if torch.backends.mps.is_available() and not torch.cuda.is_available() and amp:
        raise ConfigError("--amp: there is no mixed precision in training on this device, mps; train without --amp.")
    if amp and kind == "OptimWrapper":
        wrapper.type = "AmpOptimWrapper" if torch.cuda.is_available() else "camtool.BFloat16OptimWrapper"
    elif amp and kind not in ("AmpOptimWrapper", "camtool.BFloat16OptimWrapper"):
        raise ConfigError(f"--amp: config '{source}' has the optimiser wrapper '{kind}'; expected OptimWrapper or AmpOptimWrapper.")
    elif kind == "AmpOptimWrapper" and not torch.cuda.is_available():
        if not amp:
            raise ConfigError(f"Config '{source}' trains by AmpOptimWrapper, which needs CUDA; --amp trains in bfloat16 here.")
        wrapper.type = "camtool.BFloat16OptimWrapper"
        for key in ("loss_scale", "dtype", "use_fsdp"):
            wrapper.pop(key, None)


def _set_processes_without_gpu(config: Config) -> None:
    # mmengine's defaults name a GPU.
    wrapper = ConfigDict(type="MMDistributedDataParallel", device_ids=None, broadcast_buffers=False)
    wrapper.find_unused_parameters = config.get("find_unused_parameters", False)
    own = config.get("model_wrapper_cfg") or ConfigDict()
    if own.get("type", wrapper.type) == wrapper.type:
        config.model_wrapper_cfg = ConfigDict(wrapper, **own)
    config.setdefault("env_cfg", ConfigDict()).setdefault("dist_cfg", ConfigDict()).backend = "gloo"
