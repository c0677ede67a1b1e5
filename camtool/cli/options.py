"""Options that several commands share."""

import typer

CHECKPOINT = typer.Argument(
    help="Weights: a path, a URL or package://NAME/path. Left out: those of the config, else the published weights.",
    show_default=False,
)
CHECKPOINT_KEY = typer.Option(
    "--checkpoint-key",
    metavar="NAME",
    help="Under which name the weights are in the checkpoint: state_dict, state_dict_ema, encoder_q … Left out: it is found.",
)
CONFIG = typer.Argument(help="A path, a known name, mmpretrain::family/name.py, timm/NAME, torchvision/NAME or hf/NAME.")
DEVICE = typer.Option("--device", help="cpu, cuda, cuda:1 or mps.")
CFG_OPTIONS = typer.Option("--cfg-options", help="Overrides in the config: a.b=c …", metavar="KEY=VALUE…")
RANDOM_WEIGHTS = typer.Option("--random-weights", help="Seeded initialisation plus 0.02 N(0, 1), no checkpoint. Noted in figures.")
VIT_LIKE = typer.Option("--vit-like", help="Read target layers as tokens. Rarely needed: it is measured.")
LAYOUT = typer.Option(
    "--layout",
    metavar="LAYOUT",
    help="How target layers are read: ChannelsLast, 'Tokens(grid=14x14,front=1)' … Left out: it is measured where shapes do not tell.",
)
EXTRA_TOKENS = typer.Option("--num-extra-tokens", help="Leading tokens that are not positions (class, distillation); may be 0.")
CALL = typer.Option(
    "--call",
    metavar="N",
    help="Target layers that one pass calls several times: which call, from 0, or -1 for the last. Left out: the last that matters.",
)
OUTPUT = typer.Option(
    "--output",
    metavar="NAME",
    help="Networks of several tasks: the output that classes refer to, a name, a position, or 'heads.0'. Left out: the first.",
)
PLACEMENT = typer.Option(
    "--placement",
    metavar="KIND",
    help="Where a layer's cells lie: even (the default), or measured on the network's weights, once ('camtool cache' shows it).",
)
MASK = typer.Option(
    "--mask", metavar="FILE", help="Segmentations: explain the class's scores where this picture or volume is not zero (--target region)."
)
SPAN = typer.Option(
    "--span",
    metavar="FROM:TO…",
    help="Signals whose frames are scored: explain the class's scores in these seconds (--target region); all: of every frame; "
    "predicted: of the frames where it is predicted.",
)
OUTPUT_AXES = typer.Option(
    "--output-axes",
    metavar="AXES",
    help="With --span: ntc, scores (n, frames, classes), or nct, (n, classes, frames). Left out: it is measured.",
)
RESAMPLE_MASK = typer.Option("--resample-mask", help="With --mask: one of other voxels is resampled onto the scan's.")
WINDOW = typer.Option(
    "--window",
    metavar="N…",
    help="Large inputs: explain windows of this size, one number or one an axis, and blend their maps. Left out: in one pass.",
)
OVERLAP = typer.Option("--overlap", metavar="SHARE", help="With --window: share that neighbouring windows have in common (0.5).")
BY_CHANNEL = typer.Option(
    "--by-channel/--no-by-channel",
    help="Signals: a map for each channel, of target layers that keep the channels apart, as grouped convolutions do (refused where they "
    "do not); or one for all. Left out: for each channel if the layers keep them apart. Methods of the input "
    "always have one for each.",
    show_default=False,
)
SLICES = typer.Option("--slices", min=1, metavar="N", help="Volumes: draw a strip of N axial slices, not three through the maximum.")
NORMALISER = typer.Option(
    "--normaliser", metavar="FILE", help="Draw maps on the scale of a data set, a file of 'camtool analyze ranges', with a colour bar."
)
SEED = typer.Option("--seed", min=0, max=2**63 - 1, help="Seed for random weights and random methods.")
DEBUG = typer.Option("--debug", help="Show tracebacks and the logs of libraries.")
JSON = typer.Option("--json", help="Print JSON, and nothing else, on standard output.")
JSON_FILE = typer.Option("--json-file", help="Also write the JSON to this file.", metavar="FILE")
STORE = typer.Argument(help="The folder that 'camtool run' wrote.", metavar="STORE", show_default=False)
OF_METHOD = typer.Option("--method", metavar="NAME…", help="Only rows of these methods.")
OF_LAYER = typer.Option("--layer", metavar="PATH…", help="Only rows of these layers.")
STORE_CONFIG = typer.Option(
    "--config",
    metavar="CONFIG",
    help="Config of the run, whose preprocessing says which part of a picture was seen. Needed where the rows do not say it.",
)
STORE_ORIGINAL = typer.Option("--original", help="Draw on whole pictures, resize and crop undone.")
ANNOTATIONS = typer.Option("--annotations", metavar="FILE", help="Annotated objects, those of the explained class: a file or a folder.")
ANNOTATIONS_KIND = typer.Option("--annotations-kind", metavar="KIND", help="coco, voc, imagenet, cub, masks or volumes.")
OBJECTS = typer.Option("--objects", metavar="RULE", help="Of several objects of the class: union or largest.")
MASKS = typer.Option("--masks", metavar="DIR", help="Folder of masks, called as the samples: cat/1.png of cat/1.jpg.", show_default=False)
MASK_LABEL = typer.Option("--label", min=1, metavar="N", help="The masks' value that is meant. Left out: all but 0.")
