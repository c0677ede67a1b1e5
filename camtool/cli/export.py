"""`camtool export`: the maps of a store as overlays, arrays, volumes, or files of other programs."""

import os
from pathlib import Path
from typing import Annotated

import typer

from camtool.cli import options
from camtool.cli.command import session
from camtool.errors import some, warn


def export(
    folder: Annotated[Path, options.STORE],
    kind: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help="png, npy, nifti, volume (on the scan), hdf5 (of ViRelAy) or fiftyone.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="A new folder, or an empty one.")],
    method: Annotated[list[str] | None, options.OF_METHOD] = None,
    layer: Annotated[list[str] | None, options.OF_LAYER] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, metavar="N", help="At most so many rows, the first.")] = None,
    config: Annotated[str, options.STORE_CONFIG] = "",
    original: Annotated[bool, options.STORE_ORIGINAL] = False,
    colormap: Annotated[str, typer.Option("--colormap", help="Of png; as in 'camtool vis'.")] = "jet",
    opacity: Annotated[float, typer.Option("--opacity", help="Of the map over the picture, in [0, 1].")] = 0.5,
    as_json: Annotated[bool, options.JSON] = False,
    debug: Annotated[bool, options.DEBUG] = False,
) -> None:
    """Write the maps of a store into a folder, whole or not at all; a sample that is gone is named, and the others are written."""
    with session(as_json=as_json, debug=debug) as running:
        import camtool.store
        from camtool.apis.export import ExportOptions
        from camtool.apis.export import export as export_rows
        from camtool.apis.model import quiet_libraries
        from camtool.cli import report

        if not debug:
            quiet_libraries()
        chosen = {name: values for name, values in (("method", method), ("layer", layer)) if values}
        store = camtool.store.open(folder).where(**chosen)
        place = Path(os.path.expanduser(out))
        drawing = ExportOptions(colormap, opacity)
        done = export_rows(store, place, kind, config=config, original=original, limit=limit, options=drawing)
        if not store.is_complete:
            warn(f"The run of '{folder}' has not ended; what is there was exported. The same 'camtool run' goes on.")
        if as_json:
            described = {"rows": done.rows, "left_out": done.left_out, "warnings": running.warnings, "outputs": [str(place)]}
            report.print_json(running, described)
            return
        if done.left_out:
            named = some([f"{path} ({reason})" for path, reason in done.left_out.items()])
            running.remark(f"{len(done.left_out)} sample{'' if len(done.left_out) == 1 else 's'} left out: {named}")
        running.result(f"Saved: {place} ({done.rows} row{'' if done.rows == 1 else 's'} as {kind})")
