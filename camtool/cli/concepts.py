"""`camtool vis --method dff`: the concepts of one picture, coloured over it, and the classes that each speaks for."""

import io
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from camtool.cli import options
from camtool.cli.command import Session
from camtool.errors import MethodError

if TYPE_CHECKING:
    from camtool.cli.explain import Request
    from camtool.concepts.deep_feature_factorization import Concepts
    from camtool.models import Network

NAME = "dff"
_TOP = 2  # classes a concept, as in pytorch-grad-cam's legend


def wanted(request: "Request") -> bool:
    """Return whether the concepts of a picture are asked for, instead of maps; MethodError where both are, or what concepts lack."""
    if NAME not in [name.casefold() for name in request.methods]:
        if request.components is not None:
            raise MethodError("--n-components is of --method dff.")
        return False
    if len(set(request.methods)) > 1:
        raise MethodError("'dff' shows the concepts of a picture, not a map of a class; ask for it alone.")
    unfit = {
        "--target-category": request.categories,
        "--top-k": request.top_k,
        "--aug-smooth": request.aug_smooth,
        "--eigen-smooth": request.eigen_smooth,
        "--per-layer": request.per_layer,
    }
    given = [option for option, value in unfit.items() if value]
    if given or len(request.target_layers) > 1:
        raise MethodError(f"'dff' factorizes one layer, whatever the class; leave out {', '.join(given) or 'all --target-layers but one'}.")
    return True


def show_concepts(running: Session, request: "Request") -> None:
    """Make the concepts, write the figure and the arrays, print the report."""
    from camtool.cli import outputs
    from camtool.concepts.deep_feature_factorization import deep_feature_factorization
    from camtool.io.atomic import write_atomically
    from camtool.io.images import encode, read_picture

    started = time.perf_counter()
    picture = read_picture(request.image)
    loaded = options.read_config(request.wanted, debug=request.debug)
    layout = options.layout_of(loaded.cam, vit_like=request.vit_like, num_extra_tokens=request.num_extra_tokens)
    network = options.build(request.wanted, loaded)
    inputs = network.preprocess(picture)
    recipe = loaded.cam.get("target_layers") or [None]
    layer = (list(request.target_layers) or ([recipe] if isinstance(recipe, str) else list(recipe)))[0]
    concepts = deep_feature_factorization(
        network.model,
        network.source.inputs(inputs.to(next(network.model.parameters()).device)),
        request.components or 5,
        target_layer=layer,
        layout=layout,
        input=network.source.picture_input,
        seed=request.wanted.seed,
    )
    classes = _classes(network, concepts)
    whole = _drawn(request, network, concepts, classes, picture, inputs)
    name = f"{request.image.stem}_{NAME}.jpg"
    if request.save_path is None or outputs.is_folder(request.save_path):
        path = Path(request.save_path or outputs.DEFAULT_FOLDER) / name
    else:
        path = Path(request.save_path)
    files = [(path, encode(whole, path.suffix))]
    if request.save_raw is not None:
        files.append((request.save_raw, _arrays(concepts)))
    for where, content in files:
        write_atomically(where, content)
    report = {
        "methods": [NAME],
        "layers": [concepts.layer],
        "layers_reason": concepts.reason,
        "concepts": [{"classes": of_one} for of_one in classes],
        "remark": concepts.remark,
        "checkpoint": network.checkpoint or "random weights",
        "warnings": running.warnings,
        "outputs": [str(where) for where, _ in files],
        "seconds": {"total": round(time.perf_counter() - started, 4)},
    }
    if request.as_json:
        running.result(json.dumps(report, allow_nan=False))
    else:
        _print(running, report, network)
    if request.show:
        import sys

        from camtool.cli.terminal import show

        show(whole, {NAME: whole}, sys.stderr if request.as_json else running.output)


def _classes(network: "Network", concepts: "Concepts") -> list[list[dict[str, Any]]]:
    """Return by concept the classes it speaks for, best first; empty lists where concepts have no scores."""
    if concepts.scores is None:
        return [[] for _ in concepts.vectors]
    names, _ = network.class_names(concepts.scores.shape[1])
    probabilities, _ = network.probabilities(concepts.scores)
    best = probabilities.topk(min(_TOP, probabilities.shape[1]), dim=1)
    return [
        [
            {"index": index, "name": names[index] if names else None, "probability": round(value, 6)}
            for index, value in zip(*row, strict=True)
        ]
        for row in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]


def _labels(classes: list[list[dict[str, Any]]]) -> list[str]:
    from camtool.models.class_labels import short_name

    labels = []
    for number, of_one in enumerate(classes, start=1):
        said = [
            f"{short_name(one['name']) if one['name'] else 'class'} ({one['index']}), {100 * one['probability']:.1f} %" for one in of_one
        ]
        labels.append(f"{number}: {'; '.join(said)}" if said else f"concept {number}")
    return labels


def _drawn(request: "Request", network: "Network", concepts: "Concepts", classes: Any, picture: Any, inputs: Any) -> Any:
    from camtool.visualization.concepts import concept_figure
    from camtool.visualization.inverse_preprocessing import measure_geometry, seen_picture

    maps = concepts.maps[0].cpu().numpy()
    below = seen_picture(inputs, network.preprocess)
    if request.original:
        geometry = measure_geometry(picture, network.preprocess)
        below, maps = picture, np.stack([geometry.to_original(one) for one in maps])
    return concept_figure(
        below,
        maps,
        _labels(classes),
        [f"{len(maps)} concepts at {concepts.layer}"],
        opacity=request.opacity,
        remarks=["no class scores: the head is not pooling and one linear layer"] if concepts.remark else [],
        alarm="RANDOM WEIGHTS: these concepts mean nothing" if network.checkpoint is None else "",
    )


def _arrays(concepts: "Concepts") -> bytes:
    arrays: dict[str, Any] = {
        "map/dff": concepts.maps[0],
        f"raw/dff/{concepts.layer}": concepts.raw[0],
        "vectors": concepts.vectors,
        "logits": concepts.logits[0].float(),
    }
    if concepts.scores is not None:
        arrays["scores"] = concepts.scores
    buffer = io.BytesIO()
    arrays = {name: tensor.cpu().numpy() for name, tensor in arrays.items()}
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _print(running: Session, report: dict[str, Any], network: "Network") -> None:
    from camtool.cli.console import results_console

    if network.checkpoint is None:
        running.remark("Warning: RANDOM WEIGHTS (--random-weights): these concepts mean nothing.")
    console = results_console(running)
    for label in _labels([one["classes"] for one in report["concepts"]]):
        console.print(label)
    if report["remark"]:
        console.print(f"No class scores: {report['remark']}.", soft_wrap=True)
    console.print(f"Layer: {report['layers'][0]} ({report['layers_reason']})", soft_wrap=True)
    for path in report["outputs"]:
        console.print(f"Saved: {path}", soft_wrap=True)
