"""Data sets and transforms that a training config names by scope: `type="camtool.Shapes"`. Imported by the registry only."""

from camtool.data.datasets.digits import Digits as Digits
from camtool.data.datasets.imagenette import Imagenette as Imagenette
from camtool.data.datasets.loading import LoadImageFromFile as LoadImageFromFile
from camtool.data.datasets.shapes import Shapes as Shapes
