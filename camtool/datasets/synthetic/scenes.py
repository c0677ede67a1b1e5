"""Scenes with one class-determining shape among distractors: a data set whose answers are known, in one, two or three axes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8

from camtool.datasets.synthetic.shapes import CLASSES, DISTRACTORS, Kind, unit_of
from camtool.errors import DataError, closest

NOTHING = "nothing"
"""The class of scenes with distractors only: what erasing the object leaves has a right answer, too."""

SPLITS = ("train", "val", "test")
RADII = {
    1: (0.05, 0.07),
    2: (0.14, 0.17),
    3: (0.10, 0.13),
}  # by rank, of the ball as large as a shape, in sides of the picture, where there are two
WAVES = 4  # plane waves of a background
CYCLES = 6  # of its finest wave across the picture
TRIES = 64  # places drawn at once for a shape

Window: TypeAlias = tuple[slice, ...]


@dataclass(frozen=True)
class Sample:
    """A picture and what is known of it."""

    picture: UInt8[np.ndarray, "*spatial c"]
    """RGB where c is 3."""
    label: int
    mask: Bool[np.ndarray, "*spatial"]
    """The class-determining object; nowhere in a scene of the class "nothing"."""
    distractor_mask: Bool[np.ndarray, "*spatial"]
    box: Int[np.ndarray, "rank 2"]
    """By axis of `mask` the object's first position, and the one after its last; zeros where there is none."""


@dataclass(frozen=True)
class Shape:
    """One shape in a scene, painted."""

    kind: Kind
    centre: Float[np.ndarray, " rank"]
    rotation: Float[np.ndarray, "rank rank"]
    radius: float
    """Of the ball that covers as much, in pixels."""
    paint: Float32[np.ndarray, "c *spatial"]

    def drawn(self, size: int) -> tuple[Window, Float32[np.ndarray, "*window"], Bool[np.ndarray, "*window"]]:
        """Return the window that holds the shape; how far it paints over each pixel there, in [0, 1], with smooth edges; its silhouette."""
        rank = len(self.centre)
        unit, reach = (self.radius * length for length in unit_of(self.kind, rank))
        window = tuple(slice(max(int(middle - reach) - 1, 0), min(int(middle + reach) + 3, size)) for middle in self.centre)
        axes = (np.arange(span.start, span.stop, dtype=np.float32) for span in window)
        offsets = np.ix_(*((axis - middle) / unit for axis, middle in zip(axes, self.centre.tolist(), strict=True)))
        # No matrix product: a BLAS may round otherwise with other threads, and a pixel is to be the same in any process.
        points = np.stack([sum(weight * offset for weight, offset in zip(row, offsets, strict=True)) for row in self.rotation.tolist()])
        distance = self.kind.distance(points)
        cover = np.clip(0.5 - distance * unit, 0, 1)
        if self.kind.shade is not None:
            cover = cover * self.kind.shade(points)
        return window, cover, distance <= 0


@dataclass(frozen=True)
class Scene:
    """A background, at most one object, and distractors; with one of them erased, all else stays as it is, pixel by pixel."""

    classes: tuple[str, ...]
    label: int
    object: Shape | None
    distractors: tuple[Shape, ...]
    background: Float32[np.ndarray, "c *spatial"]
    noise: Float32[np.ndarray, "c *spatial"]

    def sample(self) -> Sample:
        """Return the scene as it is."""
        shape = self.background.shape[1:]
        picture, mask, distractor_mask = self.background.copy(), np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
        for shapes, covered in ((self.distractors, distractor_mask), ([self.object] if self.object else [], mask)):
            for one in shapes:
                window, cover, silhouette = one.drawn(shape[0])
                under = picture[:, *window]
                under += cover * (one.paint[:, *window] - under)
                covered[window] |= silhouette
        levels = np.clip((picture + self.noise) * 255 + 0.5, 0, 255).astype(np.uint8)
        return Sample(np.ascontiguousarray(np.moveaxis(levels, 0, -1)), self.label, mask, distractor_mask, _box(mask))

    def without_object(self) -> "Scene":
        """Return the scene with background in the object's place: of the class "nothing"."""
        return replace(self, object=None, label=self.classes.index(NOTHING))

    def without_distractors(self) -> "Scene":
        """Return the scene with background in the distractors' place: of the same class."""
        return replace(self, distractors=())

    def with_class(self, name: str) -> "Scene":
        """Return the scene with an object of another class in the object's place, size, angle and paint; DataError if there is none."""
        if self.object is None:
            raise DataError(f"A scene of class '{NOTHING}' has no object to replace.")
        kinds = CLASSES[len(self.object.centre)]
        if name not in kinds:
            raise DataError(f"No shape makes a class '{name}'{closest(name, kinds)}; expected one of {', '.join(kinds)}.")
        return replace(self, object=replace(self.object, kind=kinds[name]), label=self.classes.index(name))


@dataclass(frozen=True)
class ShapeScenes:
    """Scenes by index: each a pure function of these settings and its index, in any process and order.

    Classes come in turn. All shapes of a scene cover the same area, and differ from the background by the same contrast, each in
    a direction of its own: neither size nor brightness tells the object from a distractor. A scene of the class "nothing" has as
    many distractors as the others, or one more: two shapes do not tell whether one of them is an object. Nor does a single one tell
    it where `fewest` is 0: to learn from, since otherwise what is left of a scene with an erased distractor would never have been seen.

    Args:
        rank: 1, 2 or 3 axes.
        size: pixels an axis.
        distractors: in each scene with an object, at most.
        fewest: at least; None: as many.
        contrast: length of the difference in colour between a shape and the background, of channels in [0, 1]; 0.5 at most, which
            is what any background has room for.
        texture: standard deviation of the amplitude of the background's waves.
        noise: standard deviation of each channel's noise, pixel by pixel.

    Raises:
        DataError: if there are no such scenes.
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

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise DataError(f"No split '{self.split}'{closest(self.split, SPLITS)}; expected one of {', '.join(SPLITS)}.")
        if self.rank not in CLASSES:
            raise DataError(f"Shapes have 1, 2 or 3 axes, got rank={self.rank}.")
        for name, least in (("size", 24), ("channels", 1), ("distractors", 0), ("seed", 0)):
            if getattr(self, name) < least:
                raise DataError(f"Shapes need {name} >= {least}, got {getattr(self, name)}.")
        if not 0 < self.contrast <= 0.5:
            raise DataError(f"Shapes need 0 < contrast <= 0.5, got {self.contrast}.")
        if self.fewest is not None and not 0 <= self.fewest <= self.distractors:
            raise DataError(f"Shapes need 0 <= fewest <= distractors, got fewest={self.fewest} and distractors={self.distractors}.")

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the names by label, in alphabetical order as a folder of classes lists them."""
        return tuple(sorted([*CLASSES[self.rank], NOTHING]))

    def scene(self, index: int) -> Scene:
        """Return scene `index`, 0 or above."""
        random = np.random.default_rng((self.seed, SPLITS.index(self.split), index))
        label = index % len(self.classes)
        kinds = self._kinds(self.classes[label], random)
        crowd = min(1.0, 2 / (self.distractors + 1)) ** (1 / self.rank)  # more shapes are smaller: together they cover as much
        radius = random.uniform(*RADII[self.rank]) * self.size * crowd
        centres = self._places([radius * reach for _, reach in kinds], random)
        base = random.uniform(0.35, 0.65, self.channels).astype(np.float32)
        background = self._waves(base, WAVES, random)
        shapes = []
        for (kind, _), centre in zip(kinds, centres, strict=True):
            direction = random.standard_normal(self.channels)
            step = self.contrast * direction / np.linalg.norm(direction)
            # The other way where the channel ends: a colour that is cut off there would differ by less.
            colour = base + np.where(abs(base + step - 0.5) > 0.5, -step, step)
            shapes.append(Shape(kind, centre, _turn(self.rank, random), radius, self._waves(colour.astype(np.float32), 1, random)))
        spread = self.noise * 12**0.5  # of uniform noise: a third of the time that normal noise takes
        noise = spread * (random.random(background.shape, dtype=np.float32) - 0.5)
        has_object = self.classes[label] != NOTHING
        return Scene(self.classes, label, shapes[0] if has_object else None, tuple(shapes[has_object:]), background, noise)

    def _kinds(self, name: str, random: np.random.Generator) -> list[tuple[Kind, float]]:
        """Return each shape's (kind, reach), the object first. An object has room for any class's shape."""
        reaches = _reaches(self.rank)
        fewest = self.distractors if self.fewest is None else self.fewest
        count = int(random.integers(fewest, self.distractors + (2 if name == NOTHING else 1)))
        names = sorted(DISTRACTORS[self.rank])
        distractors = [
            (DISTRACTORS[self.rank][names[number]], reaches[names[number]]) for number in random.integers(len(names), size=count)
        ]
        if name == NOTHING:
            return distractors
        return [(CLASSES[self.rank][name], max(reaches[other] for other in CLASSES[self.rank])), *distractors]

    def _places(self, reaches: Sequence[float], random: np.random.Generator) -> list[Float[np.ndarray, " rank"]]:
        """Return centres such that shapes of these reaches lie inside the picture, apart from each other."""
        for _ in range(TRIES):
            centres: list[np.ndarray] = []
            for reach in reaches:
                drawn = random.uniform(reach, max(self.size - 1 - reach, reach), (TRIES, self.rank))
                apart = np.all(
                    [np.linalg.norm(drawn - centre, axis=1) > reach + other for centre, other in zip(centres, reaches, strict=False)],
                    axis=0,
                )
                free = drawn[apart] if centres else drawn
                if not len(free):
                    break
                centres.append(free[0])
            else:
                return centres
        raise DataError(f"{len(reaches)} shapes find no room in {self.size} pixels an axis; expected fewer distractors.")

    def _waves(self, base: Float32[np.ndarray, " c"], count: int, random: np.random.Generator) -> Float32[np.ndarray, "c *spatial"]:
        """Return a colour with plane waves over it."""
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
    """Return each axis' positions, shaped to be broadcast against the others."""
    return tuple(np.arange(size, dtype=np.float32).reshape([-1 if axis == own else 1 for axis in range(rank)]) for own in range(rank))


def _turn(rank: int, random: np.random.Generator) -> Float[np.ndarray, "rank rank"]:
    """Return a random rotation, mirrored or not."""
    orthogonal, triangular = np.linalg.qr(random.standard_normal((rank, rank)))
    return orthogonal * np.sign(np.diag(triangular))


def _box(mask: Bool[np.ndarray, "*spatial"]) -> Int[np.ndarray, "rank 2"]:
    spans = []
    for axis in range(mask.ndim):
        (held,) = np.nonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        spans.append([held[0], held[-1] + 1] if len(held) else [0, 0])
    return np.array(spans)
