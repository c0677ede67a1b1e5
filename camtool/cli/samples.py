"""Samples of a data set, or picture files, through its network: a figure of three panels each, and one report."""

import json
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from camtool.cli import options, outputs, report
from camtool.cli.command import Session
from camtool.cli.console import results_console
from camtool.cli.explain import Explained, Request, cam_arguments, explain_input, make_cam
from camtool.datasets.splits import LabelledPicture, Samples
from camtool.errors import CamtoolWarning
from camtool.io.atomic import check_writable, write_atomically
from camtool.io.images import FORMATS, encode, read_picture
from camtool.models.class_labels import label
from camtool.visualization.figures import Style, panels

OPACITY = 0.4  # 0.6 of the picture shines through, as in the figures of the course work that this command follows


@dataclass(frozen=True)
class Wish:
    """What the command line asked for; see `camtool browse --help`."""

    wanted: options.Wanted
    random: int | None
    index: int | None
    images: Sequence[Path]
    split: str
    category: str | None
    methods: Sequence[str]
    out_dir: Path
    as_json: bool
    debug: bool


@dataclass(frozen=True)
class Chosen:
    """A picture to look at, not read yet, and where its figure goes."""

    origin: Path | int
    """A picture file, or an index of the data set."""
    file: Path


@dataclass(frozen=True)
class Seen:
    """A picture that was looked at: its figure, as content of `file`, and what the report says of it."""

    file: Path
    content: bytes
    facts: dict[str, Any]
    row: list[str]


def show_samples(running: Session, wish: Wish) -> None:
    """Make the maps, write the figures, print the report. Nothing is written unless every figure could be made."""
    from camtool.cli.progress import drawn_progress
    from camtool.cli.questions import read_question

    started = time.perf_counter()
    loaded = options.read_config(wish.wanted, debug=wish.debug)
    categories = [] if wish.category is None else [wish.category]
    request = Request(Path(), wish.wanted, methods=wish.methods, categories=categories, figure="panel", opacity=OPACITY)
    asked = cam_arguments(request, loaded.cam)
    question = read_question(request, loaded.cam)
    samples = None if wish.images else Samples(loaded.config, wish.split, wish.wanted.config)
    chosen = _chosen(wish, samples)
    for one in chosen:
        check_writable(one.file)
    network = replace(options.build(wish.wanted, loaded), names_of_data=samples.names if samples else None)
    cam = make_cam(network, asked)
    seen: list[Seen] = []
    explained: Explained | None = None
    with drawn_progress() as progress:
        for done, one in enumerate(chosen):
            if progress is not None:
                progress("pictures", done, len(chosen))
            sample = _read(one.origin, samples)
            with _said_of(one.file.name):
                of_this = replace(request, image=Path(sample.name))
                explained = explain_input(of_this, asked, cam, question, network, network.preprocess(sample.picture))
            seen.append(_seen(one, sample, explained, samples))
    assert explained is not None
    _warn_of_other_names(explained, samples)
    for figure in seen:
        write_atomically(figure.file, figure.content)
    if network.checkpoint is None:
        running.remark(report.RANDOM_WEIGHTS)
    if explained.answers.remark:
        running.remark(f"Note: {explained.answers.remark}.")
    seconds = time.perf_counter() - started
    if wish.as_json:
        _print_json(running, wish, seen, explained, seconds)
    else:
        _print_table(running, seen, explained, seconds)


def _chosen(wish: Wish, samples: Samples | None) -> list[Chosen]:
    if samples is None:
        return [Chosen(path, wish.out_dir / name) for path, name in zip(wish.images, _names_after(wish.images), strict=True)]
    if wish.index is not None:
        samples.check_index(wish.index)
        return [Chosen(wish.index, wish.out_dir / f"index_{wish.index}_cam.png")]
    assert wish.random is not None
    drawn = samples.drawn(wish.random, wish.wanted.seed)
    return [Chosen(index, wish.out_dir / f"random_cam_{count}.png") for count, index in enumerate(drawn)]


def _names_after(images: Sequence[Path]) -> list[str]:
    """Return `cam_NAME` of each picture's own name, no two the same."""
    names: list[str] = []
    for path in images:
        stem, suffix = path.stem, path.suffix if path.suffix.lower() in FORMATS else f"{path.suffix}.png"
        name, count = f"cam_{stem}{suffix}", 1
        while name in names:  # of one name in two folders
            count += 1
            name = f"cam_{stem}_{count}{suffix}"
        names.append(name)
    return names


def _read(origin: Path | int, samples: Samples | None) -> LabelledPicture:
    if isinstance(origin, Path):
        return LabelledPicture(read_picture(origin), str(origin), ())
    assert samples is not None
    return samples[origin]


@contextmanager
def _said_of(name: str) -> Iterator[None]:
    """Begin the warnings from inside with a name: there are many pictures."""
    with warnings.catch_warnings(record=True) as caught:
        yield
    for one in caught:
        warnings.warn(f"{name}: {one.message}", one.category, stacklevel=2)


def _seen(chosen: Chosen, sample: LabelledPicture, explained: Explained, samples: Samples | None) -> Seen:
    answers = explained.answers
    (aim,) = answers.aims
    names = (samples.names if samples else None) or answers.names  # true classes are the data set's
    true = ", ".join(label(index, names) for index in sample.labels)
    predicted = f"{label(explained.predicted, answers.names)}, {explained.shown(explained.predicted)}"
    target = outputs.caption(explained, aim)
    canvas = outputs.Canvas(explained, sample.picture)
    cells = []
    for method, result in explained.results.items():
        words = f"CAM for {aim.words}" if result.class_discriminative else "CAM for any class"
        cells.append(replace(canvas.cell(method, 0), title=words))
    whole = panels(
        canvas.below,
        cells,
        Style("panel", opacity=OPACITY),
        input_captions=["original", *([f"true: {true}"] if true else [])],
        overlay_captions=["overlay", f"predicted: {predicted}", f"target: {target}"],
        alarm=outputs.RANDOM_WEIGHTS if explained.network.checkpoint is None else "",
    )
    index = chosen.origin if isinstance(chosen.origin, int) else None
    facts = {
        "output": str(chosen.file),
        "image": sample.name,
        "index": index,
        "true": [{"index": one, "name": names[one] if names and one < len(names) else None} for one in sample.labels],
        "predicted": report.class_facts(explained, explained.predicted),
        "target": report.aim_facts(explained, aim),
        "status": {method: result.status[0][0] for method, result in explained.results.items()},
    }
    row = [str(chosen.file), sample.name if index is None else str(index), true or "-", predicted, target]
    return Seen(chosen.file, encode(whole, chosen.file.suffix), facts, row)


def _warn_of_other_names(explained: Explained, samples: Samples | None) -> None:
    of_data, of_network = samples.names if samples else None, explained.answers.names
    if of_data and of_network and of_data != of_network:
        warnings.warn(
            f"The data set's classes are not those that the network was trained on ({len(of_data)} and {len(of_network)} names): "
            "true classes are named by the one, predicted ones by the other.",
            CamtoolWarning,
            stacklevel=2,
        )


def _print_json(running: Session, wish: Wish, seen: Sequence[Seen], explained: Explained, seconds: float) -> None:
    found = {
        "samples": [one.facts for one in seen],
        "split": None if wish.images else wish.split,
        "target": explained.target_facts()["name"],
        "probabilities": explained.answers.scale,
        **report.circumstances(explained),
        "warnings": running.warnings,
        "outputs": [str(one.file) for one in seen],
        "seconds": {"total": round(seconds, 4)},
    }
    running.result(json.dumps(found, allow_nan=False))


def _print_table(running: Session, seen: Sequence[Seen], explained: Explained, seconds: float) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("figure", "sample", "true", "predicted", "target"):
        table.add_column(heading, overflow="fold")
    for one in seen:
        table.add_row(*one.row)
    console = results_console(running)
    console.print(table)
    report.print_circumstances(console, explained)
    console.print(f"Time: {seconds:.1f} s in all")
