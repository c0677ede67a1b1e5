"""`camtool analyze overlap`: how a store's maps overlap with masks of what should be seen."""

import os
import statistics
from pathlib import Path
from typing import Annotated, Any

import typer

from camtool.cli import options
from camtool.cli.analyze import Analysis, Debug, Json, Layers, Methods, Out, StorePath, csv_of, report
from camtool.cli.command import session
from camtool.errors import DataError, closest, warn


def overlap(
    store: StorePath,
    masks: Annotated[Path, options.MASKS],
    config: Annotated[
        str, typer.Option("--config", metavar="CONFIG", help="Config of the run, whose preprocessing places maps on the samples.")
    ],
    method: Methods = None,
    layer: Layers = None,
    score: Annotated[list[str] | None, typer.Option("--score", metavar="NAME…", help="wioa, ioa, iou. Left out: all.")] = None,
    threshold: Annotated[
        str, typer.Option("--threshold", metavar="SHARE", help="What of a map is attention: otsu, of each map, or a number from 0 to 1.")
    ] = "otsu",
    label: Annotated[int | None, options.MASK_LABEL] = None,
    resample_mask: Annotated[bool, options.RESAMPLE_MASK] = False,
    out: Out = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Overlap with masks, of each sample and in the mean: wIoA, IoA, IoU."""
    with session(as_json=as_json, debug=debug) as running:
        from camtool.analysis.overlap import Masks, overlaps
        from camtool.analysis.split_samples import samples_of
        from camtool.apis.model import ModelRequest
        from camtool.metrics import OVERLAPS
        from camtool.models.loading import load_input

        scores = score or list(OVERLAPS)
        for name in scores:
            if name not in OVERLAPS:
                raise DataError(f"No score '{name}'{closest(name, OVERLAPS)}; expected {', '.join(OVERLAPS)}.")
        level = _threshold(threshold)
        folder = Path(os.path.expanduser(masks))
        if not folder.is_dir():
            raise DataError(f"No folder '{masks}'; expected one of masks.")
        analysis = Analysis(store, out, method, layer)
        loaded = ModelRequest(os.path.expanduser(config)).read_config()
        samples = samples_of(analysis.store, load_input(loaded), loaded)
        by_sample = Masks(folder, resample_mask, label)
        files: dict[str, bytes] = {}
        entries: list[dict[str, Any]] = []
        for source in analysis.sources:
            rows = list(overlaps(samples, source, by_sample, scores=scores, threshold=level))
            compared = [row for row in rows if not row["reason"]]
            if not compared:
                raise DataError(f"No map of {source} could be compared: {rows[0]['reason']}")
            if len(compared) < len(rows):
                first = next(row["reason"] for row in rows if row["reason"])
                warn(f"{len(rows) - len(compared)} of {len(rows)} maps of {source} were not compared: {first}")
            files[f"overlap_{analysis.names[source]}.csv"] = csv_of(rows)
            means = {name: statistics.fmean(row[name] for row in compared) for name in scores}
            entries.append(
                {"method": source.method, "layer": source.layer, **means, "maps": len(compared), "left_out": len(rows) - len(compared)}
            )
        report(running, analysis, {"overlap": entries}, analysis.write(files), as_json=as_json)


def _threshold(text: str) -> str | float:
    if text == "otsu":
        return text
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise DataError(f"Expected --threshold as otsu, or a number from 0 to 1, got '{text}'.")
    return share
