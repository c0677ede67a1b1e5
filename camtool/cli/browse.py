"""`camtool browse`: original, map and overlay of samples of a config's data set, or of any files."""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from camtool.cli import options
from camtool.cli.command import Session, session
from camtool.cli.file_options import AS_THEY_ARE, FileOptions, reads_files
from camtool.cli.readings import reading_files
from camtool.errors import DataError, warn

if TYPE_CHECKING:
    from camtool.apis import Explanation
    from camtool.apis.samples import SamplePanel


@reads_files
def browse(
    config: Annotated[str, options.CONFIG],
    checkpoint: Annotated[str | None, options.CHECKPOINT] = None,
    random: Annotated[int | None, typer.Option("--random", metavar="N", help="N random samples of the data set; see --seed.")] = None,
    index: Annotated[int | None, typer.Option("--index", metavar="I", help="The sample of this index.")] = None,
    image: Annotated[
        list[Path] | None,
        typer.Option("--image", metavar="FILE…", help="Any files of the network's kind of input."),
    ] = None,
    split: Annotated[str, typer.Option("--split", "--dataset", help="Split of the data set: val or train, without augmentation.")] = "val",
    target_category: Annotated[
        str | None,
        typer.Option(
            "--target-category", "--class-idx", metavar="CLASS", help="The class to explain: index or name. Left out: the predicted one."
        ),
    ] = None,
    placement: Annotated[str, options.PLACEMENT] = "",
    method: Annotated[
        list[str] | None, typer.Option("--method", metavar="NAME…", help="As in 'camtool vis'; a row of panels each. Left out: gradcam.")
    ] = None,
    out_dir: Annotated[Path, typer.Option("--out-dir", "--output-dir", "-o", metavar="DIR", help="Folder of the figures.")] = Path(
        "outputs/browse"
    ),
    files: FileOptions = AS_THEY_ARE,
    device: Annotated[str, options.DEVICE] = "cpu",
    cfg_options: Annotated[list[str] | None, options.CFG_OPTIONS] = None,
    checkpoint_key: Annotated[str, options.CHECKPOINT_KEY] = "",
    random_weights: Annotated[bool, options.RANDOM_WEIGHTS] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**63 - 1, help="Seed for --random, random weights and random methods.")] = 0,
    as_json: Annotated[bool, options.JSON] = False,
    debug: Annotated[bool, options.DEBUG] = False,
) -> None:
    """Explain samples of a data set: map and overlay of each, with its true, predicted and explained class."""
    started = time.perf_counter()
    with session(as_json=as_json, debug=debug) as running:
        _check_exactly_one({"--random N": random, "--index I": index, "--image PATH": image or None})
        from camtool.apis import Explainer
        from camtool.apis.model import ModelRequest, quiet_libraries
        from camtool.apis.outputs import ImagesRead
        from camtool.apis.samples import read_sample, requested_samples, sample_panel
        from camtool.apis.settings import read_settings
        from camtool.apis.target_selection import read_selection
        from camtool.cli.progress import announcing, drawn_progress
        from camtool.datasets.splits import Samples
        from camtool.io.atomic import check_writable, write_atomically

        if not debug:
            quiet_libraries()
        model = reading_files(
            ModelRequest(os.path.expanduser(config), checkpoint, device, cfg_options or [], random_weights, seed, checkpoint_key),
            files,
            list(map(str, image or [])),
        )
        loaded = model.read_config()
        settings = read_settings(model, loaded, method=method, placement=placement or None)
        selection = read_selection(settings.target, categories=[] if target_category is None else [target_category])
        samples = None if image else Samples(loaded.config, split, config)
        images = [Path(os.path.expanduser(path)) for path in image or []]
        requests = requested_samples(Path(os.path.expanduser(out_dir)), samples, images=images, index=index, random=random, seed=seed)
        for request in requests:
            check_writable(request.file)
        ImagesRead(images).check_kept(request.file for request in requests)
        explainer = Explainer.of(settings, class_names=samples.names if samples else None)
        explainer.cam.announce = announcing(running)
        panels: list[SamplePanel] = []
        last: Explanation | None = None
        with drawn_progress() as progress:
            for done, request in enumerate(requests):
                if progress is not None:
                    progress("images", done, len(requests))
                sample = read_sample(request, samples, explainer.network)
                for last in explainer.explain([sample.image], selection):
                    panels.append(sample_panel(request, last, sample.labels, samples.names if samples else None))
        assert last is not None
        _warn_of_other_names(last, samples.names if samples else None)
        for panel in panels:  # none is written unless all could be drawn
            write_atomically(panel.file, panel.content)
        _report(running, panels, last, split=None if image else split, as_json=as_json, seconds=time.perf_counter() - started)


def _check_exactly_one(values: Mapping[str, Any]) -> None:
    """Raise DataError unless exactly one of the options has a value."""
    used = [option for option, value in values.items() if value is not None]
    if len(used) != 1:
        *others, last = values
        raise DataError(f"Give exactly one of {', '.join(others)} or {last}; got {' and '.join(used) or 'none'}.")


def _warn_of_other_names(explanation: "Explanation", of_data: Sequence[str] | None) -> None:
    of_network = explanation.answer.names
    if of_data and of_network and list(of_data) != of_network:
        warn(
            f"The data set's classes are not those that the network was trained on ({len(of_data)} and {len(of_network)} names): "
            "true classes have the data set's names, predicted classes the network's."
        )


def _report(
    running: Session, panels: "Sequence[SamplePanel]", last: "Explanation", *, split: str | None, as_json: bool, seconds: float
) -> None:
    from camtool.cli import report

    if last.network.checkpoint is None:
        running.remark(report.RANDOM_WEIGHTS.format("this map means"))
    if last.answer.remark:
        running.remark(f"Note: {last.answer.remark}.")
    if not as_json:
        _print_table(running, panels, last, seconds)
        return
    circumstances = ("probabilities", "methods", "refused", "layers", "layers_reason", "sources", "checkpoint", "weights")
    described = last.to_dict()
    report.print_json(
        running,
        {
            "samples": [panel.report for panel in panels],
            "split": split,
            "target": last.selection.name,
            **{key: described[key] for key in circumstances},
            "warnings": running.warnings,
            "outputs": [str(panel.file) for panel in panels],
            "seconds": {"total": round(seconds, 4)},
        },
    )


def _print_table(running: Session, panels: "Sequence[SamplePanel]", last: "Explanation", seconds: float) -> None:
    from rich.table import Table

    from camtool.cli import report
    from camtool.cli.console import results_console
    from camtool.cli.rich_text import Unbroken

    table = Table(box=None, pad_edge=False)
    for heading in ("figure", "sample", "true", "predicted", "target"):
        table.add_column(heading, overflow="fold")
    for panel in panels:
        table.add_row(*map(Unbroken, panel.row))
    console = results_console(running)
    console.print(table)
    report.print_circumstances(console, last)
    console.print(f"Time: {seconds:.1f} s in all")
