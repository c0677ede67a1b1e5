"""Synthetic scenes with one class-determining shape among distractors, in one, two or three dimensions, with ground-truth masks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8

from camtool.datasets.synthetic.places import random_places
from camtool.datasets.synthetic.shapes import CLASSES, DISTRACTORS, Kind, unit_of
from camtool.datasets.synthetic.watermarks import Watermark
from camtool.errors import DataError, closest

NOTHING = "nothing"
"""Class of scenes with distractors only, so that a scene whose object is erased has a true class as well."""

SPLITS = ("train", "val", "test")
RADII = {
    1: (0.05, 0.07),
    2: (0.14, 0.17),
    3: (0.14, 0.155),
}  # by rank: range of the radius of the ball with a shape's volume, as a share of the side length; for two shapes
WAVES = 4  # plane waves in a background
CYCLES = 6  # most cycles of a wave across the image

Window: TypeAlias = tuple[slice, ...]


@dataclass(frozen=True)
class Sample:
    """An image with its label and ground-truth masks."""

    picture: UInt8[np.ndarray, "*spatial c"]
    """Channel last; RGB if c is 3."""
    label: int
    mask: Bool[np.ndarray, "*spatial"]
    """Pixels of the class-determining object; all False in a scene of the class "nothing"."""
    distractor_mask: Bool[np.ndarray, "*spatial"]
    box: Int[np.ndarray, "rank 2"]
    """Bounding box of the object: (first, last + 1) along each axis of `mask`; zeros if there is no object."""
    watermark_mask: Bool[np.ndarray, "*spatial"]
    """All False in a scene without a watermark."""


@dataclass(frozen=True)
class Shape:
    """A shape in a scene: kind, position, rotation, size and colour."""

    kind: Kind
    centre: Float[np.ndarray, " rank"]
    rotation: Float[np.ndarray, "rank rank"]
    radius: float
    """Radius in pixels of the ball with the same volume."""
    paint: Float32[np.ndarray, "c *spatial"]

    def drawn(self, size: int) -> tuple[Window, Float32[np.ndarray, "*window"], Bool[np.ndarray, "*window"]]:
        """Return (window that contains the shape, its opacity there in [0, 1] with antialiased edges, its silhouette)."""
        rank = len(self.centre)
        unit, reach = (self.radius * length for length in unit_of(self.kind, rank))
        window = tuple(slice(max(int(centre - reach) - 1, 0), min(int(centre + reach) + 3, size)) for centre in self.centre)
        axes = (np.arange(span.start, span.stop, dtype=np.float32) for span in window)
        offsets = np.ix_(*((axis - centre) / unit for axis, centre in zip(axes, self.centre.tolist(), strict=True)))
        # Not a matrix product: the rounding of a BLAS depends on the number of threads, and pixels must not.
        points = np.stack([sum(weight * offset for weight, offset in zip(row, offsets, strict=True)) for row in self.rotation.tolist()])
        distance = self.kind.distance(points)
        cover = np.clip(0.5 - distance * unit, 0, 1)
        if self.kind.shade is not None:
            cover = cover * self.kind.shade(points)
        return window, cover, distance <= 0


@dataclass(frozen=True)
class Scene:
    """A background, at most one object, distractors and a watermark. Removing one of them leaves the other pixels unchanged."""

    classes: tuple[str, ...]
    label: int
    object: Shape | None
    distractors: tuple[Shape, ...]
    background: Float32[np.ndarray, "c *spatial"]
    noise: Float32[np.ndarray, "c *spatial"]
    watermark: Float32[np.ndarray, "*spatial"] | None = None
    """What is added to every channel."""

    def sample(self) -> Sample:
        """Return the rendered scene."""
        shape = self.background.shape[1:]
        picture, mask, distractor_mask = self.background.copy(), np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
        for shapes, covered in ((self.distractors, distractor_mask), ([self.object] if self.object else [], mask)):
            for drawn_shape in shapes:
                window, cover, silhouette = drawn_shape.drawn(shape[0])
                pixels = picture[:, *window]  # a view
                pixels += cover * (drawn_shape.paint[:, *window] - pixels)
                covered[window] |= silhouette
        watermark = np.float32(0) if self.watermark is None else self.watermark
        levels = np.clip((picture + self.noise + watermark) * 255 + 0.5, 0, 255).astype(np.uint8)
        of_watermark = np.broadcast_to(watermark != 0, shape).copy()
        return Sample(np.ascontiguousarray(np.moveaxis(levels, 0, -1)), self.label, mask, distractor_mask, _box(mask), of_watermark)

    def without_object(self) -> "Scene":
        """Return the scene without its object; its class is "nothing"."""
        return replace(self, object=None, label=self.classes.index(NOTHING))

    def without_distractors(self) -> "Scene":
        """Return the scene without distractors; its class stays."""
        return replace(self, distractors=())

    def without_watermark(self) -> "Scene":
        """Return the scene without its watermark; its class stays."""
        return replace(self, watermark=None)

    def with_class(self, name: str) -> "Scene":
        """Return the scene with an object of another class at the same place, in the same size, rotation and colour.

        Raises:
            DataError: if the scene has no object, or no shape has the class `name`.
        """
        if self.object is None:
            raise DataError(f"A scene of class '{NOTHING}' has no object to replace.")
        kinds = {kind: shape for kind, shape in CLASSES[len(self.object.centre)].items() if kind in self.classes}
        if name not in kinds:
            raise DataError(f"No shape of class '{name}'{closest(name, kinds)}; expected one of {', '.join(kinds)}.")
        return replace(self, object=replace(self.object, kind=kinds[name]), label=self.classes.index(name))


@dataclass(frozen=True)
class ShapeScenes:
    """Synthetic scenes by index; each is a pure function of these settings and its index.

    Classes alternate. All shapes of a scene have the same area and the same contrast to the background, each in a colour direction of
    its own, so that neither size nor brightness separates the object from a distractor. A scene of the class "nothing" has as many
    distractors as the others, or one more, so that the number of shapes does not tell the class either. With `fewest=0` some training
    scenes have an object alone, as scenes have whose distractor is erased.

    Args:
        split: "train", "val" or "test": different random scenes.
        rank: 1, 2 or 3 spatial dimensions.
        size: pixels along each axis.
        distractors: most distractors in a scene with an object.
        fewest: fewest distractors; None: `distractors`.
        contrast: length of the colour difference between a shape and the background, for channels in [0, 1]; at most 0.5.
        texture: standard deviation of the amplitudes of the background's waves.
        noise: standard deviation of the noise of each channel and pixel.
        watermark: stripes in a corner that go with a class; without them scenes are the same, pixel for pixel.
        kinds: names of the shapes, of classes and of distractors; None: all of the rank.

    Raises:
        DataError: if an argument is out of range.

    Example:
        >>> scenes = ShapeScenes(split="val", size=32)
        >>> scenes.classes
        ('cross', 'disc', 'nothing', 'ring', 'square', 'triangle')
        >>> sample = scenes.scene(1).sample()
        >>> sample.picture.shape, scenes.classes[sample.label], sample.box.shape
        ((32, 32, 3), 'disc', (2, 2))
        >>> scenes.scene(1).without_object().sample().mask.any().item()
        False
    """

    split: str = "train"
    seed: int = 0
    rank: int = 2
    size: int = 64
    channels: int = 3
    distractors: int = 1
    fewest: int | None = None
    contrast: float = 0.5
    texture: float = 0.03
    noise: float = 0.02
    watermark: Watermark | None = None
    kinds: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise DataError(f"No split '{self.split}'{closest(self.split, SPLITS)}; expected one of {', '.join(SPLITS)}.")
        if self.rank not in CLASSES:
            raise DataError(f"Shapes have 1, 2 or 3 axes, got rank={self.rank}.")
        names = [*CLASSES[self.rank], *DISTRACTORS[self.rank]]
        for name in self.kinds or ():
            if name not in names:
                raise DataError(f"No shape '{name}' of rank {self.rank}{closest(name, names)}; expected some of {', '.join(names)}.")
        if not (self._chosen(CLASSES) and self._chosen(DISTRACTORS)):
            raise DataError(f"Shapes need the kind of a class and the kind of a distractor at least, got kinds={self.kinds}.")
        for name, least in (("size", 24), ("channels", 1), ("distractors", 0), ("seed", 0)):
            if getattr(self, name) < least:
                raise DataError(f"Shapes need {name} >= {least}, got {getattr(self, name)}.")
        if not 0 < self.contrast <= 0.5:
            raise DataError(f"Shapes need 0 < contrast <= 0.5, got {self.contrast}.")
        if self.fewest is not None and not 0 <= self.fewest <= self.distractors:
            raise DataError(f"Shapes need 0 <= fewest <= distractors, got fewest={self.fewest} and distractors={self.distractors}.")
        if self.watermark is not None and self.watermark.name not in self.classes:
            raise DataError(f"No class '{self.watermark.name}'{closest(self.watermark.name, self.classes)} that a watermark could go with.")

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the class names by label, in alphabetical order as an image folder has them."""
        return tuple(sorted([*self._chosen(CLASSES), NOTHING]))

    def scene(self, index: int) -> Scene:
        """Return scene `index` (>= 0)."""
        random = np.random.default_rng((self.seed, SPLITS.index(self.split), index))
        label = index % len(self.classes)
        kinds = self._kinds(self.classes[label], random)
        shrinkage = min(1.0, 2 / (self.distractors + 1)) ** (1 / self.rank)  # many shapes are smaller: their total area is bounded
        radius = random.uniform(*RADII[self.rank]) * self.size * shrinkage
        centres = random_places([radius * reach for _, reach in kinds], self.size, self.rank, random)
        base = random.uniform(0.35, 0.65, self.channels).astype(np.float32)
        background = self._waves(base, WAVES, random)
        shapes = []
        for (kind, _), centre in zip(kinds, centres, strict=True):
            direction = random.standard_normal(self.channels)
            step = self.contrast * direction / np.linalg.norm(direction)
            # Reversed where the channel would leave [0, 1]: clipping would reduce the contrast.
            colour = base + np.where(abs(base + step - 0.5) > 0.5, -step, step)
            shapes.append(
                Shape(kind, centre, _random_rotation(self.rank, random), radius, self._waves(colour.astype(np.float32), 1, random))
            )
        spread = self.noise * 12**0.5  # width of uniform noise, which takes a third of the time of normal noise
        noise = spread * (random.random(background.shape, dtype=np.float32) - 0.5)
        has_object = self.classes[label] != NOTHING
        scene = Scene(self.classes, label, shapes[0] if has_object else None, tuple(shapes[has_object:]), background, noise)
        if self.watermark is None:
            return scene
        own_random = np.random.default_rng((self.seed, SPLITS.index(self.split), index, 1))  # the rest of the scene stays as it is
        return replace(scene, watermark=self.watermark.drawn(self.classes[label], self.size, self.rank, own_random))

    def _chosen(self, kinds: Mapping[int, Mapping[str, Kind]]) -> list[str]:
        return [name for name in kinds[self.rank] if self.kinds is None or name in self.kinds]

    def _kinds(self, name: str, random: np.random.Generator) -> list[tuple[Kind, float]]:
        """Return (kind, reach) of each shape, the object first; the object's reach is that of the largest class."""
        reaches = _reaches(self.rank)
        fewest = self.distractors if self.fewest is None else self.fewest
        count = int(random.integers(fewest, self.distractors + (2 if name == NOTHING else 1)))
        names = sorted(self._chosen(DISTRACTORS))
        distractors = [
            (DISTRACTORS[self.rank][names[number]], reaches[names[number]]) for number in random.integers(len(names), size=count)
        ]
        if name == NOTHING:
            return distractors
        return [(CLASSES[self.rank][name], max(reaches[other] for other in self._chosen(CLASSES))), *distractors]

    def _waves(self, base: Float32[np.ndarray, " c"], count: int, random: np.random.Generator) -> Float32[np.ndarray, "c *spatial"]:
        """Return an image of the colour `base` plus `count` random plane waves."""
        cycles = random.uniform(-CYCLES, CYCLES, (count, self.rank)) * (2 * np.pi / self.size)
        phases = random.uniform(0, 2 * np.pi, count)
        amplitudes = self.texture * random.standard_normal((count, len(base)), dtype=np.float32)
        columns = (-1, *[1] * self.rank)
        field = np.broadcast_to(base.reshape(columns), (len(base), *[self.size] * self.rank)).copy()
        for turns, phase, amplitude in zip(cycles.tolist(), phases.tolist(), amplitudes, strict=True):
            angles = sum((turn * axis for turn, axis in zip(turns, _axes(self.size, self.rank), strict=True)), start=phase)
            field += amplitude.reshape(columns) * np.cos(angles)
        return field


@cache
def _reaches(rank: int) -> dict[str, float]:
    return {name: unit_of(kind, rank)[1] for name, kind in (*CLASSES[rank].items(), *DISTRACTORS[rank].items())}


@cache
def _axes(size: int, rank: int) -> tuple[Float32[np.ndarray, "*spatial"], ...]:
    """Return the positions along each axis, shaped for broadcasting."""
    return tuple(
        np.arange(size, dtype=np.float32).reshape([-1 if axis == varying else 1 for axis in range(rank)]) for varying in range(rank)
    )


def _random_rotation(rank: int, random: np.random.Generator) -> Float[np.ndarray, "rank rank"]:
    """Return a random orthogonal matrix."""
    orthogonal, triangular = np.linalg.qr(random.standard_normal((rank, rank)))
    return orthogonal * np.sign(np.diag(triangular))


def _box(mask: Bool[np.ndarray, "*spatial"]) -> Int[np.ndarray, "rank 2"]:
    spans = []
    for axis in range(mask.ndim):
        (occupied,) = np.nonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        spans.append([occupied[0], occupied[-1] + 1] if len(occupied) else [0, 0])
    return np.array(spans)
