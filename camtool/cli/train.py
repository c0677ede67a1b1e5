"""`camtool train`: train a network from a config."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from camtool.cli import options
from camtool.cli.command import Session, session
from camtool.cli.positionals import taken_by
from camtool.config.overrides import parse_options
from camtool.errors import ConfigError

if TYPE_CHECKING:
    from camtool.train.runner import Trained


def train(
    config: Annotated[
        str | None, typer.Argument(help="A config of mmpretrain's form, or a YAML file: model, training, dataset.", show_default=False)
    ] = None,
    config_file: Annotated[
        str | None, typer.Option("--config", help="The same, as an option.", metavar="CONFIG", show_default=False)
    ] = None,
    work_dir: Annotated[
        str | None,
        typer.Option(
            "--work-dir",
            metavar="DIR",
            help="Folder of checkpoints, logs and curves. Left out: the config's, else outputs/train/NAME.",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the newest whole checkpoint of the work directory; without one: start anew.")
    ] = False,
    amp: Annotated[bool, typer.Option("--amp", help="Mixed precision: float16 on CUDA, bfloat16 without.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at an unreadable image; otherwise it is named, counted and skipped.")
    ] = False,
    launcher: Annotated[
        str, typer.Option("--launcher", help="What started the processes: none, pytorch (torchrun), slurm or mpi.")
    ] = "none",
    cfg_options: Annotated[list[str] | None, options.CFG_OPTIONS] = None,
    debug: Annotated[bool, options.DEBUG] = False,
) -> None:
    """Train a network. An interrupted run continues with --resume."""
    with session(as_json=False, debug=debug) as running:
        source = config or config_file
        if source is None or (config and config_file):
            taken = "" if source else taken_by({"--cfg-options": cfg_options}, "CONFIG")
            raise ConfigError(f"Expected one CONFIG: python tools/train.py configs/resnet_cam/… (--help says more).{taken}")
        from camtool.train.config import training_config
        from camtool.train.distributed import check_launcher
        from camtool.train.runner import train as run

        check_launcher(launcher)
        ready = training_config(
            str(Path(source).expanduser()) if "::" not in source else source,
            parse_options(cfg_options or []),
            work_dir=None if work_dir is None else str(Path(work_dir).expanduser()),
            amp=amp,
            strict=strict,
            launcher=launcher,
        )
        trained = run(ready, source, resume=resume, launcher=launcher)
        if trained is not None:
            _report(running, trained)


def _report(running: Session, trained: "Trained") -> None:
    sys.stderr.flush()
    metrics = ", ".join(f"{name} {value:.4g}" for name, value in trained.metrics.items())
    running.result(f"{trained.epochs} epochs{f'; the last validation: {metrics}' if metrics else ''}")
    if trained.best:
        running.result(f"the best weights are those of epoch {trained.best}")
    if trained.broken:
        running.result(f"{len(trained.broken)} pictures could not be read and were skipped")
    running.result(f"weights: {trained.checkpoint}")
    running.result(f"curves: {trained.curves}")
