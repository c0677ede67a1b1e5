"""`camtool analyze clusters`: does the network look at one thing in some pictures of a class, and at another in others?"""

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from camtool.cli import options
from camtool.cli.analyze import Analysis, Debug, Json, Layers, Methods, Out, StorePath, finite, report
from camtool.cli.command import session
from camtool.errors import DataError, closest, some

if TYPE_CHECKING:
    from camtool.analysis.class_maps import ClassMaps
    from camtool.analysis.clusters import Cluster
    from camtool.analysis.sources import Source
    from camtool.apis.stored_pictures import StoredPictures

_COLUMNS = ("id", "path", "label", "predicted", "target", "probability")


def clusters(
    store: StorePath,
    category: Annotated[
        list[str] | None, typer.Option("--class", metavar="CLASS…", help="By index or name. Left out: every class.")
    ] = None,
    errors: Annotated[bool, typer.Option("--errors", help="Maps of pictures of the class that are predicted otherwise.")] = False,
    count: Annotated[
        int | None,
        typer.Option("--clusters", min=1, metavar="N", help="Clusters of a class. Left out: as many as separate best, at most 6."),
    ] = None,
    algorithm: Annotated[str, typer.Option("--algorithm", metavar="NAME", help="kmeans or spectral.")] = "kmeans",
    embed: Annotated[str, typer.Option("--embedding", metavar="NAME", help="pca or tsne: what the plot of all maps shows.")] = "pca",
    side: Annotated[int, typer.Option("--size", min=2, metavar="N", help="Cells along each axis that maps are resized to.")] = 16,
    shown: Annotated[int, typer.Option("--show", min=1, metavar="N", help="Most typical maps on each contact sheet.")] = 12,
    data: Annotated[Path | None, typer.Option("--data", metavar="DIR", help="Folder of the samples. Left out: the run's.")] = None,
    config: Annotated[
        str | None, typer.Option("--config", metavar="CONFIG", help="The network's, whose preprocessing crops the pictures below the maps.")
    ] = None,
    method: Methods = None,
    layer: Layers = None,
    seed: Annotated[int, options.SEED] = 0,
    out: Out = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Cluster the maps of each class by where they are; write a table, a plot and a contact sheet a cluster.

    The cluster that stands out most is the first one: a watermark shows as a cluster of high separation, with its share of the class.
    """
    with session(as_json=as_json, debug=debug) as running:
        from camtool.analysis.class_maps import class_maps
        from camtool.analysis.clusters import embedding, find_clusters
        from camtool.apis.stored_pictures import StoredPictures

        analysis = Analysis(store, out, method, layer)
        chosen = _classes(analysis, category or [])
        pictures = StoredPictures.of(analysis.store, config or "", root=data, guess=False)
        files: dict[str, bytes] = {}
        entries: list[dict[str, Any]] = []
        for source in analysis.sources:
            for index, found in class_maps(analysis.store, source, chosen, errors=errors, side=side).items():
                if not found.rows and not category:
                    continue
                parts = find_clusters(found, count, algorithm=algorithm, seed=seed)
                name = f"clusters/{analysis.names[source]}_class{index}{'_errors' if errors else ''}"
                places = embedding(found, embed, seed=seed)
                files[f"{name}.csv"] = _csv(found, parts, places)
                title = f"{analysis.class_name(index)}{', predicted otherwise' if errors else ''}"
                files[f"{name}.png"] = _plot(found, parts, places, f"{title}, {source}", embed)
                for number, part in enumerate(parts, start=1):
                    files[f"{name}_{number}.png"] = _sheet(analysis, source, found, part, f"{title}, cluster {number}", pictures, shown)
                    entries.append(_entry(analysis, source, found, part, number))
        if not entries:
            raise DataError(f"No {'wrongly predicted ' if errors else ''}sample of any class has a map to cluster.")
        written = analysis.write(files)
        report(running, analysis, {"clusters": entries}, written, as_json=as_json)


def _classes(analysis: Analysis, named: list[str]) -> list[int]:
    """Return the indices of the classes that are named, or of all that the labels, without labels the predictions, have."""
    names = analysis.class_names or []
    if not named:
        found = analysis.store.distinct("label") or analysis.store.distinct("predicted")
        if not found:
            raise DataError("The store has neither labels nor predicted classes; expected one of a classifier.")
        return sorted(found)
    indices = []
    for text in named:
        if text in names:
            indices.append(names.index(text))
        elif text.isdecimal() and (not names or int(text) < len(names)):
            indices.append(int(text))
        else:
            known = f"{some(names, 8)}, or an index below {len(names)}" if names else "an index, since the run knew no names"
            raise DataError(f"No class '{text}'{closest(text, names)}; expected {known}.")
    return list(dict.fromkeys(indices))


def _entry(analysis: Analysis, source: "Source", found: "ClassMaps", part: "Cluster", number: int) -> dict[str, Any]:
    return {
        "method": source.method,
        "layer": source.layer,
        "class": found.index,
        "name": analysis.class_name(found.index),
        "cluster": number,
        "maps": len(part.members),
        "share": part.share,
        "separation": finite(part.separation),
        "errors": finite(part.errors),
        "probability": finite(part.probability),
        "left_out": found.left_out,
    }


def _csv(found: "ClassMaps", parts: "list[Cluster]", places: Any) -> bytes:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["cluster", *_COLUMNS, "x", "y"])
    for number, part in enumerate(parts, start=1):
        writer.writerows([number, *(found.rows[m][name] for name in _COLUMNS), *map(float, places[m])] for m in part.members)
    return buffer.getvalue().encode("utf-8", "surrogateescape")


def _plot(found: "ClassMaps", parts: "list[Cluster]", places: Any, heading: str, embed: str) -> bytes:
    from camtool.visualization.scatter import Scatter, draw_scatters

    names = [""] * len(found.rows)
    for number, part in enumerate(parts, start=1):
        for member in part.members:
            names[member] = f"cluster {number}: {part.share:.0%}"
    axes = ("first component", "second component") if embed == "pca" else ("t-SNE 1", "t-SNE 2")
    return draw_scatters([Scatter(places[:, 0], places[:, 1], *axes)], names, heading=heading)


def _sheet(
    analysis: Analysis, source: "Source", found: "ClassMaps", part: "Cluster", title: str, pictures: "StoredPictures", shown: int
) -> bytes:
    from camtool.analysis.sheets import sheet
    from camtool.io.images import encode

    rows = [found.rows[member] for member in part.members[:shown]]
    heading = f"{title}: {part.share:.0%} of {len(found.rows)} maps; {source}; the {len(rows)} most typical"
    captions = [f"{row['path']}: {analysis.class_name(row['predicted'])}" for row in rows]
    return encode(sheet(analysis.store, source, rows, captions, heading, pictures), ".png")
