"""`camtool layers` and `--preview-model`: the tree of modules, and which of them can be target layers."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from camtool.cli import options
from camtool.cli.command import Session, session
from camtool.cli.console import results_console
from camtool.cli.file_options import AS_THEY_ARE, FileOptions, reads_files
from camtool.cli.readings import reading_by, reading_files
from camtool.errors import CamtoolError, LayerError, times

if TYPE_CHECKING:
    from camtool.apis.model import ModelRequest
    from camtool.instrumentation.target_layers import Probe, ProbedLayer


@reads_files
def layers(
    config: Annotated[str, options.CONFIG],
    checkpoint: Annotated[str | None, options.CHECKPOINT] = None,
    image: Annotated[Path | None, typer.Option("--image", metavar="FILE", help="The picture to probe with. Left out: a black one.")] = None,
    depth: Annotated[int | None, typer.Option("--depth", min=1, help="Show modules down to this depth.")] = None,
    text: Annotated[str, typer.Option("--filter", help="Show modules with this text in path or class.")] = "",
    call: Annotated[int | None, options.CALL] = None,
    output: Annotated[str | None, options.OUTPUT] = None,
    layout: Annotated[str, options.LAYOUT] = "",
    vit_like: Annotated[bool, options.VIT_LIKE] = False,
    num_extra_tokens: Annotated[int | None, options.EXTRA_TOKENS] = None,
    files: FileOptions = AS_THEY_ARE,
    device: Annotated[str, options.DEVICE] = "cpu",
    cfg_options: Annotated[list[str] | None, options.CFG_OPTIONS] = None,
    checkpoint_key: Annotated[str, options.CHECKPOINT_KEY] = "",
    random_weights: Annotated[bool, options.RANDOM_WEIGHTS] = False,
    seed: Annotated[int, options.SEED] = 0,
    as_json: Annotated[bool, options.JSON] = False,
    debug: Annotated[bool, options.DEBUG] = False,
) -> None:
    """List a network's layers: path, class, output shape, parameters, and whether it can be a target layer."""
    with session(as_json=as_json, debug=debug) as running:
        from camtool.apis.model import ModelRequest, as_layout, quiet_libraries

        if not debug:
            quiet_libraries()
        model = ModelRequest(os.path.expanduser(config), checkpoint, device, cfg_options or [], random_weights, seed, checkpoint_key)
        model = reading_files(model, files, [str(image)] if image else [])
        preview(running, model, image, depth, text, as_layout(layout, vit_like, num_extra_tokens), call, output, as_json=as_json)


def preview(
    running: Session,
    model: "ModelRequest",
    image: Path | None,
    depth: int | None,
    text: str,
    layout: str | Mapping[str, Any] | None,
    call: int | None = None,
    output: str | None = None,
    *,
    as_json: bool,
) -> None:
    """Print the layers of a network, probed on `image` or on a black picture of the config's size."""
    from camtool import CAM
    from camtool.apis.subjects import load_subject

    loaded = model.read_config()
    picture = load_subject(image, 0, reading_by(loaded, [str(image)])) if image else None
    network = model.build(loaded)

    inputs = network.preprocess(network.blank() if picture is None else picture.content).to(next(network.model.parameters()).device)
    layout = loaded.cam.get("layout") if layout is None else layout
    source = network.source
    call = loaded.cam.get("call") if call is None else call
    output = loaded.cam.get("output") if output is None else output
    cam = CAM(network.model, layout=layout, input=source.picture_input, input_axes=source.input_axes, call=call, output=output)
    probed = cam.probe(network.inputs(inputs, source.input_axes))
    default, why = _default(probed)
    shown = [layer for layer in probed.layers if _is_wanted(layer, depth, text)]
    described = [_described(layer, default) for layer in shown]
    if as_json:
        running.result(json.dumps({"default": default, "why": why, "layers": described}))
        return
    _print(running, described, f"{type(network.model).__name__}, input {times(inputs.shape)}")
    running.result(f"Default target layer: {default}, {why}." if default else f"No default target layer: {why}")


def _default(probed: "Probe") -> tuple[str | None, str]:
    try:
        return probed.default_layer()
    except LayerError as error:
        return None, str(error)


def _is_wanted(layer: "ProbedLayer", depth: int | None, text: str) -> bool:
    folded = text.casefold()
    deep_enough = depth is None or _depth(layer.path) <= depth
    return deep_enough and (folded in layer.path.casefold() or folded in type(layer.module).__name__.casefold())


def _depth(path: str) -> int:
    return path.count(".") + path.count("[") + 1


def _described(layer: "ProbedLayer", default: str | None) -> dict[str, Any]:
    return {
        "path": layer.path,
        "class": type(layer.module).__name__,
        "shape": list(layer.record.shape) if layer.record.shape else None,
        "axes": layer.reading.axes if layer.reading else None,
        "extra_tokens": layer.reading.extra_tokens if layer.reading else None,
        "reading": str(layer.reading) if layer.reading else None,
        "evidence": layer.evidence or None,
        "parameters": sum(parameter.numel() for parameter in layer.module.parameters()),
        "usable": layer.usable,
        "problem": layer.problem,
        "default": layer.path == default,
    }


def _print(running: Session, described: list[dict[str, Any]], title: str) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, title=title, title_justify="left")
    for heading in ("layer", "class", "output", "axes", "known by"):
        table.add_column(heading, overflow="fold")
    table.add_column("parameters", justify="right")
    table.add_column("target layer?", no_wrap=True)
    for layer in described:
        serves = "yes" if layer["usable"] else f"no: {layer['problem']}"
        style = "bold green" if layer["default"] else "" if layer["usable"] else "dim"
        # Indented as a tree; each line has the whole path, to be copied.
        path = Text("  " * (_depth(layer["path"]) - 1) + layer["path"])
        table.add_row(
            path,
            layer["class"],
            times(layer["shape"]) if layer["shape"] else "-",
            layer["reading"] or "-",
            layer["evidence"] or "-",
            f"{layer['parameters']:,}",
            f"{serves} (default)" if layer["default"] else serves,
            style=style,
        )
    if not described:
        raise CamtoolError("No layer matches; widen --depth or --filter.")
    results_console(running).print(table)
