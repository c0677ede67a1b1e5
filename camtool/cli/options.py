"""What `vis` and `layers` share: the options that name a network, and the way from them to one that is ready."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from camtool.config.overrides import parse_options

if TYPE_CHECKING:
    from camtool.config.loading import LoadedConfig
    from camtool.models import Network

CHECKPOINT = typer.Argument(
    help="Weights: a path, a URL or package://NAME/path. Left out: what the config says, else the zoo's published weights.",
    show_default=False,
)
DEVICE = typer.Option("--device", help="cpu, cuda, cuda:1 or mps.")
CFG_OPTIONS = typer.Option("--cfg-options", help="Overrides in the config: a.b=c …", metavar="KEY=VALUE…")
RANDOM_WEIGHTS = typer.Option("--random-weights", help="No checkpoint: seeded initialisation plus 0.02 N(0, 1). Said on the picture.")
VIT_LIKE = typer.Option("--vit-like", help="Read target layers as tokens. Accepted, rarely needed: the layout is found from the tensor.")
EXTRA_TOKENS = typer.Option("--num-extra-tokens", help="Leading tokens that are no positions (class, distillation); 0 is a value.")
SEED = typer.Option("--seed", min=0, max=2**63 - 1, help="Of random weights and of random methods.")
DEBUG = typer.Option("--debug", help="Show tracebacks and the logs of libraries.")
JSON = typer.Option("--json", help="Standard output is one JSON object.")


@dataclass(frozen=True)
class Wanted:
    """Which network, as asked for on the command line."""

    config: str
    checkpoint: str | None
    device: str
    cfg_options: Sequence[str]
    random_weights: bool
    seed: int


def read_config(wanted: Wanted, *, debug: bool) -> "LoadedConfig":
    """Return the config, with its `custom_imports` done; the device is checked first."""
    from camtool.config.yaml_config import load_either
    from camtool.models.loading import check_device

    check_device(wanted.device)
    if not debug:
        quieten()
    return load_either(wanted.config, parse_options(wanted.cfg_options))


def build(wanted: Wanted, loaded: "LoadedConfig") -> "Network":
    """Return the network with its weights, on its device."""
    from camtool.models import load_network

    return load_network(loaded, wanted.checkpoint, random_weights=wanted.random_weights, seed=wanted.seed, device=wanted.device)


def layout_of(recipe: dict[str, Any], *, vit_like: bool, num_extra_tokens: int | None) -> Any:
    """Return the layout that the command line asks for, else the config's `cam.layout`, else None: to be found."""
    if vit_like or num_extra_tokens is not None:
        return {"type": "Tokens", "num_extra_tokens": num_extra_tokens}
    return recipe.get("layout")


def quieten() -> None:
    """Let the logs of libraries say errors only."""
    from mmengine.logging import MMLogger

    MMLogger.get_current_instance().setLevel(logging.ERROR)
