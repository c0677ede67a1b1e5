"""Data sets and transforms that a training config names by scope: `type="camtool.Shapes"`. Imported by the registry only."""

from camtool.datasets.builtin.digits import Digits as Digits
from camtool.datasets.builtin.imagenette import Imagenette as Imagenette
from camtool.datasets.builtin.shapes import Shapes as Shapes
from camtool.datasets.builtin.transforms import LoadImageFromFile as LoadImageFromFile
