"""`camtool run`: the maps of a whole data set, in a store that an interrupted run goes on with."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from camtool.cli import options
from camtool.cli.command import Session, session
from camtool.cli.file_options import AS_THEY_ARE, FileOptions, reads_files
from camtool.cli.readings import reading_files
from camtool.cli.regions import with_region
from camtool.cli.run_progress import one_line
from camtool.errors import CamtoolError, DataError, closest

if TYPE_CHECKING:
    from camtool.runs import RunReport
    from camtool.runs.ray_engine import RayEngine

_ENGINES = ("none", "ray")


@reads_files
def run(
    config: Annotated[str, options.CONFIG],
    checkpoint: Annotated[str | None, options.CHECKPOINT] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="DATA",
            help="A folder of pictures, whose sub-folders are labels; a list (.txt, or .csv with the columns path and label); config:val "
            "or config:train, the data set of the config.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "--out-dir", "-o", metavar="DIR", help="Folder of the store; new, or to go on.")
    ] = None,
    method: Annotated[list[str] | None, typer.Option("--method", metavar="NAME…", help="As in 'camtool vis'.")] = None,
    target_layers: Annotated[
        list[str] | None, typer.Option("--target-layers", metavar="PATH…", help="As in 'camtool vis'; a row for each.")
    ] = None,
    target_category: Annotated[
        list[str] | None,
        typer.Option(
            "--target-category",
            "--class-idx",
            metavar="CLASS…",
            help="predicted (the default), label, all, or classes by index or name (name:all for a class of such a name).",
        ),
    ] = None,
    target: Annotated[str | None, typer.Option("--target", metavar="KIND", help="As in 'camtool vis'.")] = None,
    against: Annotated[str | None, typer.Option("--against", metavar="CLASS", help="With --target contrast: the other class.")] = None,
    span: Annotated[list[str] | None, options.SPAN] = None,
    output_axes: Annotated[str | None, options.OUTPUT_AXES] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="How many samples share a forward pass.")] = 8,
    workers: Annotated[
        int | None, typer.Option("--workers", min=0, help="Processes that read and preprocess ahead; 0: none. Left out: 1; 0 in actors.")
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads", min=1, help="Of each process. Left out: as the store was begun, else 1 with several processes, else the machine's."
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, metavar="N", help="Only the first N samples.")] = None,
    half: Annotated[bool, typer.Option("--half", help="Store maps in float16, each divided by its largest absolute value.")] = False,
    importances: Annotated[
        bool, typer.Option("--importances", help="Store the importance of each channel, for 'camtool analyze importance'.")
    ] = False,
    max_failures: Annotated[
        int | None, typer.Option("--max-failures", min=0, metavar="N", help="Stop when more than N samples could not be explained.")
    ] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Check the content of every shard first; damaged ones are made again.")] = False,
    launcher: Annotated[
        str,
        typer.Option("--launcher", help="What started this process: none, pytorch (torchrun), slurm or mpi; each makes its own shards."),
    ] = "none",
    engine: Annotated[
        str, typer.Option("--engine", help="What makes the shards: none (this process), or ray, the actors of a Ray cluster.")
    ] = "none",
    address: Annotated[
        str | None,
        typer.Option("--address", metavar="HOST:PORT", help="With --engine ray: of a running cluster. Left out: one on this machine."),
    ] = None,
    actors: Annotated[
        int | None, typer.Option("--actors", min=1, help="With --engine ray: how many. Left out: as many as leave one CPU free.")
    ] = None,
    compile_: Annotated[bool, typer.Option("--compile", help="Compile the network.")] = False,
    amp: Annotated[str, typer.Option("--amp", metavar="DTYPE", help="Half precision of the network: bf16 or fp16.")] = "",
    aug_smooth: Annotated[bool, typer.Option("--aug-smooth", help="Mean over six flipped and brightened copies.")] = False,
    eigen_smooth: Annotated[bool, typer.Option("--eigen-smooth", help="First principal component instead of the channel sum.")] = False,
    placement: Annotated[str, options.PLACEMENT] = "",
    call: Annotated[int | None, options.CALL] = None,
    output_name: Annotated[str | None, options.OUTPUT] = None,
    layout: Annotated[str, options.LAYOUT] = "",
    vit_like: Annotated[bool, options.VIT_LIKE] = False,
    num_extra_tokens: Annotated[int | None, options.EXTRA_TOKENS] = None,
    files: FileOptions = AS_THEY_ARE,
    device: Annotated[
        str | None, typer.Option("--device", help="cpu, cuda, cuda:1 or mps. Left out: cpu; cuda where a Ray cluster has GPUs.")
    ] = None,
    cfg_options: Annotated[list[str] | None, options.CFG_OPTIONS] = None,
    checkpoint_key: Annotated[str, options.CHECKPOINT_KEY] = "",
    random_weights: Annotated[bool, options.RANDOM_WEIGHTS] = False,
    seed: Annotated[int, options.SEED] = 0,
    as_json: Annotated[bool, options.JSON] = False,
    debug: Annotated[bool, options.DEBUG] = False,
) -> None:
    """Explain a whole data set: one row of the store for each sample, target, method and layer.

    The same command again goes on where it was. Samples that cannot be explained are rows with the reason.
    """
    with session(as_json=as_json, debug=debug) as running, ExitStack() as stack:
        if data is None or out is None:
            raise DataError("Expected --data DATA, what is explained, and --out DIR, where the maps go.")
        from camtool.apis import Explainer
        from camtool.apis.model import ModelRequest, as_layout, quiet_libraries
        from camtool.apis.settings import read_settings
        from camtool.runs import run as run_data_set
        from camtool.runs.processes import place_of
        from camtool.store.layout import check_folder

        if not debug:
            quiet_libraries()
        place = place_of(launcher)
        check_folder(Path(os.path.expanduser(out)))
        ray = stack.enter_context(_connected(engine, launcher, address, actors, device))
        if ray is not None:
            device, workers = _own_device(ray), workers or 0
        elif device == "cuda" and place.world_size > 1:
            device = f"cuda:{place.local_rank}"
        model = reading_files(
            ModelRequest(os.path.expanduser(config), checkpoint, device or "cpu", cfg_options or [], random_weights, seed, checkpoint_key),
            files,
        )
        loaded = model.read_config()
        settings = read_settings(
            model,
            loaded,
            method=method,
            target_layers=target_layers,
            layout=as_layout(layout, vit_like, num_extra_tokens),
            aug_smooth=aug_smooth or None,
            eigen_smooth=eigen_smooth or None,
            placement=placement or None,
            call=call,
            output=output_name,
            speed=_speed(loaded.cam.get("speed"), compile_=compile_, amp=amp),
        )
        explainer = Explainer.of(settings)
        with one_line() as progress:
            report = run_data_set(
                explainer,
                data,
                out,
                **with_region(target, None, target_category, resample=False, span=span, axes=output_axes),
                against=against,
                batch_size=batch_size,
                workers=1 if workers is None else workers,
                limit=limit,
                half=half,
                importances=importances,
                max_failures=max_failures,
                threads=threads,
                rank=place.rank,
                world_size=place.world_size,
                verify=verify,
                command=[os.path.basename(sys.argv[0]), *sys.argv[1:]],
                progress=progress,
                engine=ray,
            )
        _report(running, report, as_json=as_json)


@contextmanager
def _connected(engine: str, launcher: str, address: str | None, actors: int | None, device: str | None) -> "Iterator[RayEngine | None]":
    """Yield the engine whose actors make the shards; None where this process makes them."""
    if engine not in _ENGINES:
        raise CamtoolError(f"Unknown engine '{engine}'{closest(engine, _ENGINES)}; expected {', '.join(_ENGINES)}.")
    if engine == "none":
        if address is not None or actors is not None:
            raise CamtoolError("--address and --actors are of a Ray cluster; expected --engine ray with them.")
        yield None
        return
    if launcher != "none":
        raise CamtoolError(f"Expected one of --engine ray and --launcher {launcher}, got both: Ray starts processes itself.")
    from camtool.runs.ray_engine import RayEngine

    with RayEngine(address, actors=actors, device=device) as ray:
        ray.device = device or ("cuda" if ray.has_gpu else "cpu")
        yield ray


def _own_device(ray: "RayEngine") -> str:
    """Return where this process tries the first sample: on the actors' kind of device, if it has one."""
    import torch

    return "cuda" if ray.device == "cuda" and torch.cuda.is_available() else "cpu"


def _speed(of_config: Mapping[str, Any] | None, *, compile_: bool, amp: str) -> dict[str, Any] | None:
    """Return the settings of speed: those of the options over those of the config; None if there are none."""
    given = {**({"compile": True} if compile_ else {}), **({"amp": amp} if amp else {})}
    return {**(of_config or {}), **given} if given else None


def _report(running: Session, report: "RunReport", *, as_json: bool) -> None:
    if as_json:
        from camtool.cli.report import print_json

        print_json(
            running,
            {
                "out": str(report.out),
                "samples": report.samples,
                "made": report.made,
                "missing": report.missing,
                "failures": report.failures,
                "remarks": report.remarks,
                "repaired": list(report.repaired),
                "warnings": running.warnings,
                "seconds": {"total": round(report.seconds, 4)},
            },
        )
        return
    for status, count in report.failures.items():
        running.remark(f"{count} sample{'' if count == 1 else 's'}: {status}.")
    for status, count in report.remarks.items():
        running.remark(f"{count} map{'' if count == 1 else 's'}: {status}.")
    if report.missing:
        running.remark(f"{report.missing} samples are in shards that are not there: those of other processes.")
    running.result(summary(report))


def summary(report: "RunReport") -> str:
    """Return the last line of a run.

    Example:
        >>> from pathlib import Path
        >>> from camtool.runs import RunReport
        >>> summary(RunReport(Path("maps"), samples=8, made=3, missing=0, failures={"unreadable": 1}, seconds=1.5))
        'maps: 8 of 8 samples (3 made now, in 1.5 s); 1 could not be explained.'
    """
    there = report.samples - report.missing
    return (
        f"{report.out}: {there} of {report.samples} samples ({report.made} made now, in {report.seconds:.1f} s); "
        f"{report.failed} could not be explained."
    )
