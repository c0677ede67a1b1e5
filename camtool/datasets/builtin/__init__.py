"""Data sets and transforms for training configs, named with their scope: `type="camtool.Shapes"`. Only the registry imports them."""

from camtool.datasets.builtin.digits import Digits as Digits
from camtool.datasets.builtin.imagenette import Imagenette as Imagenette
from camtool.datasets.builtin.shapes import Shapes as Shapes
from camtool.datasets.builtin.transforms import ChannelsFirst as ChannelsFirst
from camtool.datasets.builtin.transforms import LoadImageFromFile as LoadImageFromFile
