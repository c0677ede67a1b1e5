"""`camtool analyze ranges`: the range of a data set's maps, as normaliser files that put maps on one scale."""

from typing import Annotated

import typer

from camtool.cli.analyze import Analysis, Debug, Json, Layers, Methods, Out, StorePath, report
from camtool.cli.command import session


def ranges(
    store: StorePath,
    method: Methods = None,
    layer: Layers = None,
    rescale: Annotated[
        str, typer.Option("--rescale", metavar="KIND", help="norm: linear; tanh: softly bounded; none: each map by itself.")
    ] = "norm",
    remove_minus: Annotated[bool, typer.Option("--remove-minus", help="Negative values are zeros first.")] = False,
    scale_ratio: Annotated[float, typer.Option("--scale-ratio", metavar="S", help="Stretches the range of norm.")] = 1.0,
    percentiles: Annotated[
        str, typer.Option("--percentiles", metavar="MAX,MIN", help="Percentiles of the maxima and of the minima that are the range.")
    ] = "90,50",
    out: Out = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Find the range of the maps of a store and write it as a normaliser: one file a method and layer. No map is read."""
    with session(as_json=as_json, debug=debug) as running:
        from camtool.analysis import Normaliser

        analysis = Analysis(store, out, method, layer)
        ends = _percentiles(percentiles)
        fitted = [
            Normaliser.fit(
                analysis.store,
                method=source.method,
                layer=source.layer,
                rescale=rescale,
                remove_minus=remove_minus,
                scale_ratio=scale_ratio,
                percentiles=ends,
            )
            for source in analysis.sources
        ]  # none is written unless all could be fitted
        written = [one.save(analysis.out / f"ranges_{analysis.names[one.source]}.json") for one in fitted]
        entries = [
            {
                "method": one.source.method,
                "layer": one.source.layer,
                "vmax": one.vmax,
                "vmin": one.vmin,
                "maps": one.table.count,
                "left_out": one.table.left_out,
                "maxima": {f"{percentile:g}": value for percentile, value in one.table.maxima.items()},
                "minima": {f"{percentile:g}": value for percentile, value in one.table.minima.items()},
            }
            for one in fitted
            if one.table is not None
        ]
        report(running, analysis, "ranges", entries, written, as_json=as_json)


def _percentiles(text: str) -> tuple[float, float]:
    from camtool.errors import DataError

    try:
        upper, lower = (float(part) for part in text.split(","))
    except ValueError as error:
        raise DataError(f"Expected --percentiles MAX,MIN, such as 90,50, got '{text}'.") from error
    return upper, lower
