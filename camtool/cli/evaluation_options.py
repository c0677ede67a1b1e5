"""Options that `camtool eval`, `camtool check` and `camtool bench-methods` share, as types of their parameters."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from camtool.cli import options

MaskFolder: TypeAlias = Annotated[Path | None, options.MASKS]
MaskLabel: TypeAlias = Annotated[int | None, options.MASK_LABEL]
ResampleMask: TypeAlias = Annotated[bool, options.RESAMPLE_MASK]
AnnotationsPath: TypeAlias = Annotated[Path | None, options.ANNOTATIONS]
AnnotationsKind: TypeAlias = Annotated[str | None, options.ANNOTATIONS_KIND]
Objects: TypeAlias = Annotated[str, options.OBJECTS]
RandomWeights: TypeAlias = Annotated[bool, options.RANDOM_WEIGHTS]
Device: TypeAlias = Annotated[str, options.DEVICE]
CfgOptions: TypeAlias = Annotated[list[str] | None, options.CFG_OPTIONS]
MetricSettings: TypeAlias = Annotated[
    list[str] | None, typer.Option("--set", metavar="METRIC.KEY=VALUE…", help="Settings of metrics: iou.threshold=0.5 wsol.version=1.")
]
Limit: TypeAlias = Annotated[int | None, typer.Option("--limit", min=1, metavar="N", help="Only the first N samples.")]
Seed: TypeAlias = Annotated[
    int, typer.Option("--seed", min=0, max=2**31 - 1, help="Of ties, random maps, subsets, intervals, and random weights.")
]
BatchSize: TypeAlias = Annotated[int, typer.Option("--batch-size", min=1, help="How many inputs share a forward pass.")]
Category: TypeAlias = Annotated[
    str, typer.Option("--target-category", metavar="CLASS", help="Of --data: predicted, label, an index or a name.")
]
