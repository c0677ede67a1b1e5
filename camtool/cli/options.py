"""Options that several commands share."""

import typer

CHECKPOINT = typer.Argument(
    help="Weights: a path, a URL or package://NAME/path. Left out: what the config says, else the published weights.",
    show_default=False,
)
CONFIG = typer.Argument(help="A path, a known name, mmpretrain::family/name.py, timm/NAME, torchvision/NAME or hf/NAME.")
DEVICE = typer.Option("--device", help="cpu, cuda, cuda:1 or mps.")
CFG_OPTIONS = typer.Option("--cfg-options", help="Overrides in the config: a.b=c …", metavar="KEY=VALUE…")
RANDOM_WEIGHTS = typer.Option("--random-weights", help="No checkpoint: seeded initialisation plus 0.02 N(0, 1). Written on the picture.")
VIT_LIKE = typer.Option("--vit-like", help="Read target layers as tokens. Accepted, rarely needed: the layout is found from the tensor.")
EXTRA_TOKENS = typer.Option("--num-extra-tokens", help="Leading tokens that are no positions (class, distillation); 0 is a value.")
SEED = typer.Option("--seed", min=0, max=2**63 - 1, help="Of random weights and of random methods.")
DEBUG = typer.Option("--debug", help="Show tracebacks and the logs of libraries.")
JSON = typer.Option("--json", help="Standard output is JSON, and nothing else.")
JSON_FILE = typer.Option("--json-file", help="Write the JSON to this file too.", metavar="FILE")
