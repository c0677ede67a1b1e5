"""`camtool vis`, the main job: one picture, one config, one checkpoint, one map."""

import os
from pathlib import Path
from typing import Annotated

import typer

from camtool.cli import options
from camtool.cli.command import session
from camtool.errors import ConfigError


def vis(
    img: Annotated[str | None, typer.Argument(help="The picture: JPEG, PNG, BMP, TIFF, WebP.", show_default=False)] = None,
    config: Annotated[
        str | None, typer.Argument(help="A path, timm/NAME, or a name: 'camtool models' lists them.", show_default=False)
    ] = None,
    checkpoint: Annotated[str | None, options.CHECKPOINT] = None,
    target_layers: Annotated[
        list[str] | None,
        typer.Option(
            "--target-layers",
            metavar="PATH…",
            help="'backbone.layer4[-1]', 'backbone.layer4.2.conv3', or last-norm; several are fused by their mean. Left out: derived.",
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
            help="Any case; several at once; all: every one that fits the network, without those around others (smooth, integrated); "
            "or dff: concepts. 'camtool methods' lists them.",
        ),
    ] = None,
    target_category: Annotated[
        list[str] | None, typer.Option("--target-category", metavar="CLASS…", help="Indices or names. Left out: the predicted class.")
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            metavar="KIND",
            help="What is explained of each class: logit (default), probability, contrast (with --against), finer (against its closest "
            "classes), binary (one output: classes 0 and 1), raw (a number: regression).",
        ),
    ] = None,
    against: Annotated[str | None, typer.Option("--against", metavar="CLASS", help="With --target contrast: the other class.")] = None,
    target_image: Annotated[
        Path | None, typer.Option("--target-image", metavar="FILE", help="No class: what makes the picture like this one, to the network.")
    ] = None,
    top_k: Annotated[int | None, typer.Option("--top-k", min=1, help="The K classes with the highest scores.")] = None,
    n_components: Annotated[int | None, typer.Option("--n-components", min=1, help="With --method dff: how many concepts (5).")] = None,
    aug_smooth: Annotated[bool, typer.Option("--aug-smooth", help="Mean over six flipped and brightened copies.")] = False,
    eigen_smooth: Annotated[bool, typer.Option("--eigen-smooth", help="First principal component instead of the channel sum.")] = False,
    fuse: Annotated[str, typer.Option("--fuse", help="Several layers: mean (the default), product, refined or winsorized.")] = "",
    vit_like: Annotated[bool, options.VIT_LIKE] = False,
    num_extra_tokens: Annotated[int | None, options.EXTRA_TOKENS] = None,
    save_path: Annotated[
        str | None,
        typer.Option("--save-path", help="A file: one figure of everything; a directory: one file a map. Left out: outputs/vis_cam/."),
    ] = None,
    save_raw: Annotated[Path | None, typer.Option("--save-raw", metavar="FILE.npz", help="Arrays: maps, signed raw maps, logits.")] = None,
    figure: Annotated[str, typer.Option("--figure", help="overlay, panel (input, map, overlay, captioned) or heatmap.")] = "overlay",
    colormap: Annotated[str, typer.Option("--colormap", help="One of OpenCV's: jet, turbo, viridis, inferno …")] = "jet",
    opacity: Annotated[float, typer.Option("--opacity", help="Of the map over the picture, 0 to 1.")] = 0.5,
    original: Annotated[bool, typer.Option("--original", help="Draw on the original picture, resize and crop undone.")] = False,
    per_layer: Annotated[bool, typer.Option("--per-layer", help="Show each target layer beside the fused map.")] = False,
    show: Annotated[bool, typer.Option("--show", help="In a window; without a display, as blocks in the terminal.")] = False,
    device: Annotated[str, options.DEVICE] = "cpu",
    cfg_options: Annotated[list[str] | None, options.CFG_OPTIONS] = None,
    random_weights: Annotated[bool, options.RANDOM_WEIGHTS] = False,
    seed: Annotated[int, options.SEED] = 0,
    as_json: Annotated[bool, options.JSON] = False,
    debug: Annotated[bool, options.DEBUG] = False,
) -> None:
    """Show where a network looked: class activation maps of one picture."""
    with session(as_json=as_json, debug=debug) as running:
        if preview_model:
            img, config, checkpoint = _without_picture(img, config, checkpoint)
        if config is None or (img is None and not preview_model):
            raise ConfigError("Expected IMG and CONFIG: python tools/vis_cam.py demo/cat.jpg configs/… (--help says more).")
        img, config, save_path = (text and os.path.expanduser(text) for text in (img, config, save_path))
        assert config is not None
        wanted = options.Wanted(config, checkpoint, device, cfg_options or [], random_weights, seed)
        if preview_model:
            from camtool.cli.layers import preview

            image = None if img is None else Path(img)
            preview(running, wanted, image, depth, text, vit_like, num_extra_tokens, as_json=as_json, debug=debug)
            return
        assert img is not None
        from camtool.cli.explain import Request, explain

        request = Request(
            image=Path(img),
            wanted=wanted,
            target_layers=target_layers or [],
            methods=method or [],
            categories=target_category or [],
            target=target,
            against=against,
            target_image=target_image and target_image.expanduser(),
            top_k=top_k,
            components=n_components,
            aug_smooth=aug_smooth,
            eigen_smooth=eigen_smooth,
            fuse=fuse,
            vit_like=vit_like,
            num_extra_tokens=num_extra_tokens,
            save_path=save_path,
            save_raw=save_raw and save_raw.expanduser(),
            figure=figure,
            colormap=colormap,
            opacity=opacity,
            original=original,
            per_layer=per_layer,
            show=show,
            as_json=as_json,
            debug=debug,
        )
        explain(running, request)


def _without_picture(img: str | None, config: str | None, checkpoint: str | None) -> tuple[str | None, str | None, str | None]:
    """Return (IMG, CONFIG, CHECKPOINT) where IMG may have been left out: a first argument that is no picture is the config."""
    from camtool.io.images import SUFFIXES

    if img is None or Path(img).suffix.lower() in SUFFIXES:
        return img, config, checkpoint
    if checkpoint is not None:
        return img, config, checkpoint
    return None, img, config
