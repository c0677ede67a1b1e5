"""`camtool vis`: draw class activation maps of images, from a config and a checkpoint."""

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from camtool.cli import options
from camtool.cli.analysis_files import map_scale, selected_methods
from camtool.cli.command import session
from camtool.cli.concepts import concepts_of, first_layer, is_concepts
from camtool.cli.file_options import AS_THEY_ARE, FileOptions, reads_files
from camtool.cli.positionals import find_images, split_positionals
from camtool.cli.readings import reading_by, reading_files
from camtool.cli.regions import with_region
from camtool.cli.vis_checks import check_layers, say_what_has_no_effect
from camtool.errors import CamtoolError

if TYPE_CHECKING:
    from camtool.apis import ConceptExplanation, Explanation


@reads_files
def vis(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IMG… CONFIG [CHECKPOINT]",
            help="IMG: image files, folders, patterns, or - for standard input. CONFIG: a path, a known name ('camtool models'), "
            "mmpretrain::family/name.py, timm/NAME, torchvision/NAME or hf/NAME. CHECKPOINT: weights, a path, a URL or "
            "package://NAME/path; left out: those of the config, else the published weights.",
            show_default=False,
        ),
    ] = None,
    target_layers: Annotated[
        list[str] | None,
        typer.Option(
            "--target-layers",
            metavar="PATH…",
            help="'backbone.layer4[-1]', 'backbone.layer4.2.conv3', with ':input' behind it its input, last-norm, or full: every "
            "layer; several are fused by their mean. Left out, or auto: derived.",
        ),
    ] = None,
    preview_model: Annotated[bool, typer.Option("--preview-model", help="List the layers; IMG may be left out. No map is made.")] = False,
    depth: Annotated[int | None, typer.Option("--depth", min=1, help="With --preview-model: down to this depth.")] = None,
    text: Annotated[str, typer.Option("--filter", help="With --preview-model: only paths or classes with this text.")] = "",
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            metavar="NAME…",
            help="One or more methods, in any case, settings in brackets: 'occlusion(patch=32)'; all: every method that fits the network, "
            "without wrappers (smooth, integrated); dff: concepts. 'camtool methods' lists them.",
        ),
    ] = None,
    target_category: Annotated[
        list[str] | None,
        typer.Option(
            "--target-category", "--class-idx", metavar="CLASS…", help="Classes to explain: indices or names. Left out: the predicted one."
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            metavar="KIND",
            help="What is explained of each class: logit (default), probability, contrast (with --against), finer (against its closest "
            "classes), binary (one output: classes 0 and 1), raw (a number: regression), region (--mask or --span).",
        ),
    ] = None,
    against: Annotated[str | None, typer.Option("--against", metavar="CLASS", help="With --target contrast: the other class.")] = None,
    target_image: Annotated[
        Path | None, typer.Option("--target-image", metavar="FILE", help="Explain the similarity to this image instead of a class.")
    ] = None,
    mask: Annotated[Path | None, options.MASK] = None,
    resample_mask: Annotated[bool, options.RESAMPLE_MASK] = False,
    span: Annotated[list[str] | None, options.SPAN] = None,
    output_axes: Annotated[str | None, options.OUTPUT_AXES] = None,
    top_k: Annotated[int | None, typer.Option("--top-k", min=1, help="Explain the K classes with the highest scores.")] = None,
    n_components: Annotated[int | None, typer.Option("--n-components", min=1, help="With --method dff: number of concepts (5).")] = None,
    aug_smooth: Annotated[bool, typer.Option("--aug-smooth", help="Mean over six flipped and brightened copies.")] = False,
    eigen_smooth: Annotated[bool, typer.Option("--eigen-smooth", help="First principal component instead of the channel sum.")] = False,
    fuse: Annotated[str, typer.Option("--fuse", help="Several layers: mean (the default), product, max, refined or winsorized.")] = "",
    placement: Annotated[str, options.PLACEMENT] = "",
    call: Annotated[int | None, options.CALL] = None,
    output_name: Annotated[str | None, options.OUTPUT] = None,
    layout: Annotated[str, options.LAYOUT] = "",
    vit_like: Annotated[bool, options.VIT_LIKE] = False,
    num_extra_tokens: Annotated[int | None, options.EXTRA_TOKENS] = None,
    save_path: Annotated[
        str | None,
        typer.Option(
            "--save-path",
            "-o",
            metavar="FILE|DIR",
            help="A file: one figure of all maps; a folder: a file for each map. For several images a folder. "
            "Left out: outputs/vis_cam/IMG_CONFIG_METHOD.jpg.",
        ),
    ] = None,
    save_raw: Annotated[
        Path | None,
        typer.Option("--save-raw", metavar="FILE.npz", help="Write arrays: maps, signed raw maps, logits. For several images a folder."),
    ] = None,
    figure: Annotated[
        str, typer.Option("--figure", help="Kind of figure: overlay, panel (input, map, overlay, captioned) or heatmap.")
    ] = "overlay",
    colormap: Annotated[
        str, typer.Option("--colormap", help="A colour map of OpenCV (jet, turbo, viridis) or matplotlib (coolwarm); jet_r is reversed.")
    ] = "jet",
    opacity: Annotated[float, typer.Option("--opacity", help="Opacity of the map over the image, 0 to 1.")] = 0.5,
    original: Annotated[bool, typer.Option("--original", help="Draw on the original image, resize and crop undone.")] = False,
    per_layer: Annotated[bool, typer.Option("--per-layer", help="Show each target layer beside the fused map.")] = False,
    caption: Annotated[
        bool, typer.Option("--caption", help="Write class, method and layer below an overlay, too, which is else as large as its picture.")
    ] = False,
    signed: Annotated[
        bool, typer.Option("--signed", help="Draw evidence against the class, too: raw maps with their signs, coolwarm unless --colormap.")
    ] = False,
    normaliser: Annotated[
        Path | None,
        typer.Option(
            "--normaliser", metavar="FILE", help="Draw maps on a data set's scale, of 'camtool analyze ranges', with a colour bar."
        ),
    ] = None,
    select: Annotated[
        str,
        typer.Option(
            "--select", metavar="MODE:RATIO", help="Maps of the channels that matter to the class only: diff_top:0.3, top:0.1, max."
        ),
    ] = "",
    importance: Annotated[
        Path | None, typer.Option("--importance", metavar="FILE", help="With --select: a Target_….csv of 'camtool analyze importance'.")
    ] = None,
    show: Annotated[
        bool, typer.Option("--show", help="Show the figure in a window; without a display, as blocks in the terminal.")
    ] = False,
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", min=1, help="How many of several images share a forward pass (8), and how many windows (1)."),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Several images: stop at the first that fails; otherwise it is named and skipped."),
    ] = False,
    files: FileOptions = AS_THEY_ARE,
    slices: Annotated[int | None, options.SLICES] = None,
    by_channel: Annotated[bool | None, options.BY_CHANNEL] = None,
    window: Annotated[list[int] | None, options.WINDOW] = None,
    overlap: Annotated[float | None, options.OVERLAP] = None,
    device: Annotated[str, options.DEVICE] = "cpu",
    cfg_options: Annotated[list[str] | None, options.CFG_OPTIONS] = None,
    checkpoint_key: Annotated[str, options.CHECKPOINT_KEY] = "",
    random_weights: Annotated[bool, options.RANDOM_WEIGHTS] = False,
    seed: Annotated[int, options.SEED] = 0,
    as_json: Annotated[bool, options.JSON] = False,
    debug: Annotated[bool, options.DEBUG] = False,
) -> None:
    """Show where a network looked: class activation maps of images."""
    started = time.perf_counter()
    with session(as_json=as_json, debug=debug) as running:
        positionals = split_positionals(
            arguments or [],
            needs_image=not preview_model,
            others={"--target-category": target_category, "--method": method, "--target-layers": target_layers},
        )
        from camtool.apis.model import ModelRequest, as_layout, quiet_libraries

        if not debug:
            quiet_libraries()
        model = reading_files(
            ModelRequest(positionals.config, positionals.checkpoint, device, cfg_options or [], random_weights, seed, checkpoint_key),
            files,
            positionals.images,
        )
        if preview_model:
            from camtool.cli.layers import preview

            if len(positionals.images) > 1:
                raise CamtoolError(f"--preview-model takes one image at most, got {len(positionals.images)}.")
            image = Path(positionals.images[0]) if positionals.images else None
            preview(running, model, image, depth, text, as_layout(layout, vit_like, num_extra_tokens), call, output_name, as_json=as_json)
            return
        from camtool.apis import Explainer
        from camtool.apis.figures import FigureOptions
        from camtool.apis.images import PictureFile
        from camtool.apis.outputs import Output, network_as_file_name
        from camtool.apis.settings import read_settings
        from camtool.apis.subjects import FORMATS_OF, load_subject
        from camtool.apis.target_selection import read_selection
        from camtool.cli.progress import announcing, drawn_progress
        from camtool.cli.results import ResultWriter

        figure_options = FigureOptions(figure, colormap, opacity, original, per_layer, caption, signed, map_scale(normaliser), slices or 0)
        figure_options.check()
        loaded = model.read_config()
        reading = reading_by(loaded, positionals.images, slices=slices)
        found = find_images(positionals.images, reading)
        read = [*found.read, *map(str, filter(None, (target_image, mask)))]
        output = Output(
            save_path and os.path.expanduser(save_path),
            save_raw and Path(os.path.expanduser(save_raw)),
            found.several,
            read,
            network_as_file_name(model.config),
            FORMATS_OF[type(reading)],
        )
        output.check(figure_options, shown=show)
        of_concepts = is_concepts(
            method or [],
            n_components,
            {
                "--target-category": target_category,
                "--top-k": top_k,
                "--aug-smooth": aug_smooth,
                "--eigen-smooth": eigen_smooth,
                "--per-layer": per_layer,
                "--select": bool(select),
                "--window": window,
                "--by-channel": by_channel is not None,
                "--signed": signed,
                "--normaliser": normaliser,
                "--figure": figure != "overlay",
                "--colormap": colormap != "jet",
                "--slices": slices,
                "all --target-layers but one": len(target_layers or []) > 1,
            },
        )
        images = found.images(reading)
        settings = read_settings(  # a misspelt method, layout or target is reported before the network is built
            model,
            loaded,
            # Concepts have none; the config's might read no layers, or not exist.
            method="gradcam" if of_concepts else selected_methods(method or loaded.cam.get("method"), select, importance),
            target_layers=target_layers or first_layer(loaded.cam) if of_concepts else target_layers,
            layout=as_layout(layout, vit_like, num_extra_tokens),
            aug_smooth=aug_smooth or None,
            eigen_smooth=eigen_smooth or None,
            fuse=fuse or None,
            placement=placement or None,
            call=call,
            output=output_name,
            window=window or None,
            overlap=overlap,
            windows_at_once=batch_size,
            by_channel=by_channel,
        )
        say_what_has_no_effect(
            fuse, target_layers or loaded.cam.get("target_layers"), bool(depth or text), overlap is not None and not settings.window
        )
        selection = None
        if not of_concepts:  # these are about no target
            selection = read_selection(
                settings.target,
                **with_region(target, mask, target_category, resample=resample_mask, span=span, axes=output_axes),
                top_k=top_k,
                against=against,
                target_image=target_image and load_subject(PictureFile(target_image, reading), 0, reading),
            )
        with drawn_progress() as progress:
            explainer = Explainer.of(settings, progress)
            explainer.cam.announce = announcing(running)
            check_layers(explainer, vit_like=vit_like, importance=importance)
            results: Iterable[Explanation | ConceptExplanation | CamtoolError]
            if selection is None:
                results = concepts_of(explainer, images, n_components, found.names if found.several else None)
            else:
                results = explainer.stream(images, selection, batch_size=batch_size or 8, named=found.several)
            writer = ResultWriter(
                running, found, output, figure_options, batch_size=batch_size or 8, strict=strict, show=show, as_json=as_json
            )
            writer.write(results, progress if found.several else None)
        writer.report(explainer.seconds_loading, started)
