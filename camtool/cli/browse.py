"""`camtool browse`: pictures of a config's own data set, or any others, through its network: original, map and overlay of each."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from camtool.cli import options
from camtool.cli.command import session
from camtool.errors import DataError


def browse(
    config: Annotated[str, typer.Argument(help="A path, timm/NAME, or a name: 'camtool models' lists them.")],
    checkpoint: Annotated[str | None, options.CHECKPOINT] = None,
    random: Annotated[int | None, typer.Option("--random", metavar="N", help="N samples of the data set, by chance; see --seed.")] = None,
    index: Annotated[int | None, typer.Option("--index", metavar="I", help="The sample of this index.")] = None,
    image: Annotated[list[Path] | None, typer.Option("--image", metavar="PATH…", help="Picture files, of the data set or not.")] = None,
    split: Annotated[str, typer.Option("--split", help="val or train; the pictures of neither are augmented.")] = "val",
    class_idx: Annotated[
        str | None, typer.Option("--class-idx", metavar="CLASS", help="What is explained, index or name. Left out: the predicted class.")
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option("--method", metavar="NAME…", help="As of 'camtool vis'; a row of panels each. Left out: gradcam.")
    ] = None,
    out_dir: Annotated[Path, typer.Option("--out-dir", metavar="DIR", help="Where the figures go.")] = Path("cam_results"),
    device: Annotated[str, options.DEVICE] = "cpu",
    cfg_options: Annotated[list[str] | None, options.CFG_OPTIONS] = None,
    random_weights: Annotated[bool, options.RANDOM_WEIGHTS] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**63 - 1, help="Of --random, random weights and random methods.")] = 0,
    as_json: Annotated[bool, options.JSON] = False,
    debug: Annotated[bool, options.DEBUG] = False,
) -> None:
    """Look at samples of a data set through its network: true, predicted and explained class, map and overlay of each."""
    with session(as_json=as_json, debug=debug) as running:
        _check_one_of({"--random": random, "--index": index, "--image": image or None})
        from camtool.cli.samples import Wish, show_samples

        wanted = options.Wanted(os.path.expanduser(config), checkpoint, device, cfg_options or [], random_weights, seed)
        images = [path.expanduser() for path in image or []]
        wish = Wish(wanted, random, index, images, split, class_idx, method or [], out_dir.expanduser(), as_json, debug)
        show_samples(running, wish)


def _check_one_of(asked: Mapping[str, Any]) -> None:
    given = [option for option, value in asked.items() if value is not None]
    if len(given) != 1:
        found = " and ".join(given) if given else "none of them"
        raise DataError(f"What to look at is said by one of --random N, --index I and --image PATH; got {found}.")
