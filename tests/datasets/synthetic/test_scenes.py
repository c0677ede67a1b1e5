"""Scenes of shapes: the same anywhere, of known content, and with one thing changed at a time."""

import hashlib
import subprocess
import sys
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from camtool.datasets.synthetic.image_folder import write_folder
from camtool.datasets.synthetic.scenes import NOTHING, Sample, Scene, Shape, ShapeScenes
from camtool.datasets.synthetic.shapes import CLASSES, DISTRACTORS, unit_of
from camtool.errors import DataError, OutputError

SIZES = {1: 128, 2: 64, 3: 32}
RANKS = sorted(SIZES)
KINDS = [(rank, name) for rank in RANKS for name in {**CLASSES[rank], **DISTRACTORS[rank]}]


def scenes_of(rank: int, **settings: Any) -> ShapeScenes:
    return ShapeScenes(rank=rank, size=SIZES[rank], **settings)


def same(one: Sample, other: Sample) -> bool:
    return all(np.array_equal(mine, theirs) for mine, theirs in zip(astuple(one), astuple(other), strict=True))


def with_object(scenes: ShapeScenes, count: int) -> list[Scene]:
    return [scene for scene in map(scenes.scene, range(count)) if scene.object is not None]


def whole(shape: Shape, size: int, part: int) -> np.ndarray:
    """Return how far a shape paints over each pixel of the picture (part 1), or its silhouette (part 2)."""
    drawn = shape.drawn(size)
    field = np.zeros([size] * len(shape.centre), dtype=drawn[part].dtype)
    field[drawn[0]] = drawn[part]
    return field


# the same anywhere


@pytest.mark.parametrize("rank", RANKS)
def test_a_scene_does_not_depend_on_what_was_made_before(rank: int) -> None:
    scenes = scenes_of(rank)
    forwards = [scenes.scene(index).sample() for index in range(8)]
    np.random.seed(3)
    backwards = [scenes_of(rank).scene(index).sample() for index in reversed(range(8))][::-1]
    assert all(map(same, forwards, backwards))


def test_another_process_makes_the_same_pixels() -> None:
    program = (
        "import hashlib; from camtool.datasets.synthetic.scenes import ShapeScenes\n"
        "for rank, size in ((1, 128), (2, 64), (3, 32)):\n"
        "    print(hashlib.sha256(ShapeScenes(rank=rank, size=size, seed=5).scene(7).sample().picture.tobytes()).hexdigest())"
    )
    there = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3])
    here = [hashlib.sha256(scenes_of(rank, seed=5).scene(7).sample().picture.tobytes()).hexdigest() for rank in RANKS]
    assert there.stdout.split() == here


def test_seed_split_and_index_each_make_another_scene() -> None:
    pictures = [
        ShapeScenes(split=split, seed=seed).scene(index).sample().picture.tobytes()
        for split in ("train", "val", "test")
        for seed in (0, 1)
        for index in (0, 6)
    ]
    assert len(set(pictures)) == len(pictures)


# known content


@pytest.mark.parametrize("rank", RANKS)
def test_classes_come_in_turn_and_nothing_has_no_object(rank: int) -> None:
    scenes = scenes_of(rank)
    names = [scenes.classes[scenes.scene(index).label] for index in range(2 * len(scenes.classes))]
    assert names == [*scenes.classes] * 2
    assert [*scenes.classes] == sorted([*CLASSES[rank], NOTHING])
    for index, name in enumerate(names):
        sample = scenes.scene(index).sample()
        assert sample.mask.any() == (name != NOTHING)
        assert sample.distractor_mask.any()
        assert (sample.picture.shape, sample.picture.dtype) == ((*[SIZES[rank]] * rank, 3), np.uint8)


def test_a_scene_without_an_object_may_have_as_many_shapes_as_one_with_it() -> None:
    scenes = ShapeScenes(distractors=2)
    counts: dict[bool, set[int]] = {True: set(), False: set()}
    for index in range(60):
        scene = scenes.scene(index)
        counts[scene.object is None].add(len(scene.distractors) + (scene.object is not None))
    assert counts == {True: {2, 3}, False: {3}}


@pytest.mark.parametrize("rank", RANKS)
def test_object_and_distractors_lie_apart_and_inside_the_picture(rank: int) -> None:
    for scene in map(scenes_of(rank).scene, range(60)):
        sample = scene.sample()
        covered = sample.mask | sample.distractor_mask
        assert not (sample.mask & sample.distractor_mask).any()
        assert not any(np.take(covered, [0, -1], axis=axis).any() for axis in range(rank))


@pytest.mark.parametrize("rank", RANKS)
def test_the_box_is_the_masks(rank: int) -> None:
    for scene in map(scenes_of(rank).scene, range(12)):
        sample = scene.sample()
        inside = np.zeros_like(sample.mask)
        inside[tuple(slice(start, stop) for start, stop in sample.box)] = True
        assert not (sample.mask & ~inside).any()
        for axis, (start, stop) in enumerate(sample.box):
            assert scene.object is None or all(np.take(sample.mask, edge, axis=axis).any() for edge in (start, stop - 1))
        assert scene.object is not None or (sample.box == 0).all()


@pytest.mark.parametrize(("rank", "name"), KINDS)
def test_every_kind_covers_what_the_ball_of_its_radius_covers(rank: int, name: str) -> None:
    kind = {**CLASSES[rank], **DISTRACTORS[rank]}[name]
    size, radius = {1: (512, 60.0), 2: (256, 30.0), 3: (96, 12.0)}[rank]
    paint = np.zeros((1, *[size] * rank), dtype=np.float32)
    turn, _ = np.linalg.qr(np.arange(1.0, 1 + rank**2).reshape(rank, rank) ** 0.5)
    shape = Shape(kind, np.full(rank, size / 2 + 0.3), turn, radius, paint)
    ball = {1: 2 * radius, 2: np.pi * radius**2, 3: 4 / 3 * np.pi * radius**3}[rank]
    cover, silhouette = (whole(shape, size, part=part) for part in (1, 2))
    assert silhouette.sum() == pytest.approx(ball, rel=0.03)
    held = np.argwhere(silhouette) - size / 2
    assert np.linalg.norm(held, axis=1).max() == pytest.approx(radius * unit_of(kind, rank)[1], abs=1.5)
    assert (cover.min(), cover.dtype) == (0, np.float32)
    assert (cover[silhouette] > 0).mean() > 0.98


def test_kinds_look_like_their_names() -> None:
    middle, size = 64, 128

    def drawn(name: str) -> np.ndarray:
        kind = {**CLASSES[2], **DISTRACTORS[2]}[name]
        paint = np.zeros((1, size, size), dtype=np.float32)
        return whole(Shape(kind, np.full(2, float(middle)), np.eye(2), 24.0, paint), size, part=2)

    def filled(name: str) -> float:
        silhouette = drawn(name)
        rows, columns = np.nonzero(silhouette.any(axis=1))[0], np.nonzero(silhouette.any(axis=0))[0]
        return silhouette.sum() / ((rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1))

    assert filled("disc") == pytest.approx(np.pi / 4, abs=0.04)
    assert filled("square") == filled("bar") == 1
    assert filled("triangle") == pytest.approx(0.5, abs=0.04)
    assert not drawn("ring")[middle, middle]
    assert drawn("cross")[middle, middle]
    assert not drawn("cross")[middle + 18, middle + 18]
    assert drawn("square")[middle + 18, middle + 18]


@pytest.mark.parametrize("rank", RANKS)
def test_neither_area_nor_contrast_tells_the_object_from_a_distractor(rank: int) -> None:
    areas, contrasts = [], []
    for scene in with_object(scenes_of(rank, texture=0.0, noise=0.0), 240):
        sample = scene.sample()
        areas.append((sample.mask.sum(), sample.distractor_mask.sum()))
        colours = [shape.paint.mean(axis=tuple(range(1, rank + 1))) for shape in (scene.object, scene.distractors[0]) if shape]
        base = scene.background.mean(axis=tuple(range(1, rank + 1)))
        contrasts.append([np.linalg.norm(colour - base) for colour in colours])
        assert all(0 <= channel <= 1 for colour in colours for channel in colour)  # a picture would cut off what lies outside
    of_object, of_distractor = np.array(areas, dtype=float).T
    np.testing.assert_allclose(of_object.mean(), of_distractor.mean(), rtol=0.03)
    assert (np.abs(np.log(of_object / of_distractor)) < 0.3).mean() > 0.95
    np.testing.assert_allclose(contrasts, 0.5, rtol=1e-4)


# one thing changed at a time


def touched(scene: Scene, shape: Shape | None) -> np.ndarray:
    """Return the pixels that a shape paints, its smooth edge included."""
    assert shape is not None
    return whole(shape, scene.background.shape[1], part=1) > 0


@pytest.mark.parametrize("rank", RANKS)
def test_erasing_changes_the_pixels_of_what_is_erased_only(rank: int) -> None:
    for scene in with_object(scenes_of(rank), 18):
        sample, erased, plain = scene.sample(), scene.without_object().sample(), scene.without_distractors().sample()
        assert not (erased.picture != sample.picture)[~touched(scene, scene.object)].any()
        assert not (plain.picture != sample.picture)[~touched(scene, scene.distractors[0])].any()
        assert (erased.picture != sample.picture).any(axis=-1)[sample.mask].mean() > 0.9
        assert (plain.picture != sample.picture).any(axis=-1)[sample.distractor_mask].mean() > 0.9
        assert (scene.classes[erased.label], plain.label) == (NOTHING, sample.label)
        assert not erased.mask.any()
        assert not plain.distractor_mask.any()
        np.testing.assert_array_equal(erased.distractor_mask, sample.distractor_mask)
        np.testing.assert_array_equal(plain.mask, sample.mask)


@pytest.mark.parametrize("rank", RANKS)
def test_with_both_erased_the_background_is_left(rank: int) -> None:
    scene = with_object(scenes_of(rank, noise=0.0), 3)[0]
    left = scene.without_object().without_distractors().sample().picture
    levels = np.moveaxis(scene.background, 0, -1) * 255
    np.testing.assert_allclose(left, np.clip(levels, 0, 255), atol=0.51)


@pytest.mark.parametrize("rank", RANKS)
def test_another_classs_object_takes_the_objects_place(rank: int) -> None:
    for scene in with_object(scenes_of(rank), 12):
        own = scene.classes[scene.label]
        assert same(scene.with_class(own).sample(), scene.sample())
        for name in set(CLASSES[rank]) - {own}:
            other = scene.with_class(name)
            changed = (other.sample().picture != scene.sample().picture).any(axis=-1)
            assert scene.classes[other.label] == name
            assert changed.any()
            assert not changed[~touched(scene, scene.object) & ~touched(other, other.object)].any()
            assert not (other.sample().mask & scene.sample().distractor_mask).any()
            assert other.sample().mask.sum() == pytest.approx(scene.sample().mask.sum(), rel=0.35)


def test_a_class_that_has_no_shape_cannot_take_its_place() -> None:
    scenes = ShapeScenes()
    scene = scenes.scene(0)
    with pytest.raises(DataError, match="No shape of class 'dics'; closest: 'disc'"):
        scene.with_class("dics")
    with pytest.raises(DataError, match="No shape of class 'nothing'"):
        scene.with_class(NOTHING)
    with pytest.raises(DataError, match="has no object to replace"):
        scene.without_object().with_class("disc")


# settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split": "vla"}, "No split 'vla'; closest: 'val'"),
        ({"rank": 4}, "1, 2 or 3 axes, got rank=4"),
        ({"size": 8}, "size >= 24, got 8"),
        ({"channels": 0}, "channels >= 1, got 0"),
        ({"distractors": -1}, "distractors >= 0, got -1"),
        ({"seed": -1}, "seed >= 0, got -1"),
        ({"contrast": 0.6}, "0 < contrast <= 0.5, got 0.6"),
        ({"kinds": ("dics", "bar")}, "No shape 'dics' of rank 2; closest: 'disc'; expected some of cross, disc, ring"),
        ({"kinds": ("disc", "ring")}, "the kind of a distractor at least"),
        ({"kinds": ("bar",)}, "the kind of a class and"),
        ({"kinds": ()}, "the kind of a class and"),
    ],
)
def test_settings_without_scenes_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        ShapeScenes(**settings)


def test_more_shapes_are_smaller_so_that_there_is_room() -> None:
    covered = [
        (sample.mask | sample.distractor_mask).mean() for sample in (ShapeScenes(distractors=d).scene(0).sample() for d in (1, 3, 9))
    ]
    np.testing.assert_allclose(covered, covered[0], rtol=0.5)


def test_shapes_that_find_no_room_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("camtool.datasets.synthetic.scenes.RADII", {2: (0.25, 0.25)})
    with pytest.raises(DataError, match="No room for 2 shapes in 64 pixels along each axis; give fewer distractors"):
        ShapeScenes().scene(0)


@pytest.mark.parametrize("rank", RANKS)
def test_kinds_choose_shapes_of_classes_and_distractors(rank: int) -> None:
    kinds = (*sorted(CLASSES[rank])[1:3], min(DISTRACTORS[rank]))
    scenes = scenes_of(rank, kinds=kinds, fewest=0)
    assert scenes.classes == tuple(sorted([*kinds[:2], NOTHING]))
    made = [scenes.scene(index) for index in range(30)]
    of_classes = {(scene.classes[scene.label], scene.object.kind) for scene in made if scene.object}
    assert of_classes == {(name, CLASSES[rank][name]) for name in kinds[:2]}
    assert {shape.kind for scene in made for shape in scene.distractors} == {DISTRACTORS[rank][kinds[2]]}
    missing = (set(CLASSES[rank]) - set(kinds)).pop()
    with pytest.raises(DataError, match=f"No shape of class '{missing}'"):
        made[0].with_class(missing)


def test_volumes_always_have_room_for_two_shapes() -> None:
    scenes = ShapeScenes(rank=3, size=24, channels=1)
    assert all(scenes.scene(index).sample().distractor_mask.any() for index in range(600))


def test_one_channel_is_enough() -> None:
    sample = ShapeScenes(channels=1).scene(1).sample()
    assert sample.picture.shape == (64, 64, 1)


# folders


def test_a_folder_holds_the_pixels_and_masks_that_are_made_on_the_fly(tmp_path: Path) -> None:
    scenes = ShapeScenes(seed=3)
    write_folder(tmp_path / "shapes", scenes, {"train": 8, "val": 7})
    for split, count in (("train", 8), ("val", 7)):
        files = sorted((tmp_path / "shapes" / split).glob("*/*.png"))
        assert len(files) == count
        for path in files:
            sample = replace(scenes, split=split).scene(int(path.stem)).sample()
            assert path.parent.name == scenes.classes[sample.label]
            np.testing.assert_array_equal(np.asarray(Image.open(path)), sample.picture)
            place = path.relative_to(tmp_path / "shapes")
            np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "shapes/masks" / place)), sample.mask * np.uint8(255))
            distractors = np.asarray(Image.open(tmp_path / "shapes/distractor_masks" / place))
            np.testing.assert_array_equal(distractors, sample.distractor_mask * np.uint8(255))
    assert files[0].name == "0000.png"
    assert [path.name for path in tmp_path.iterdir()] == ["shapes"]


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_folder_that_cannot_be_finished_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException) -> None:
    written: list[Any] = []
    save = Image.Image.save

    def fail_late(image: Image.Image, path: Any, *arguments: Any) -> None:
        written.append(path)
        if len(written) == 5:
            raise failure
        save(image, path, *arguments)

    monkeypatch.setattr(Image.Image, "save", fail_late)
    with pytest.raises(OutputError if isinstance(failure, OSError) else KeyboardInterrupt):
        write_folder(tmp_path / "shapes", ShapeScenes(), {"train": 8})
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "shapes").mkdir()
    with pytest.raises(OutputError, match=r"shapes' exists already; expected the path of a new folder"):
        write_folder(tmp_path / "shapes", ShapeScenes(), {"train": 1})


def test_signals_and_volumes_make_no_image_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Expected scenes with rank=2 and channels=3, got rank=3, channels=3"):
        write_folder(tmp_path / "shapes", scenes_of(3), {"train": 1})


def test_to_learn_from_the_number_of_shapes_tells_no_class_where_fewest_is_0() -> None:
    scenes = [ShapeScenes(fewest=0).scene(index) for index in range(120)]
    counts = {
        has_object: {len(scene.distractors) for scene in scenes if (scene.object is not None) == has_object} for has_object in (True, False)
    }
    assert counts == {True: {0, 1}, False: {0, 1, 2}}
    assert {len(ShapeScenes().scene(index).distractors) for index in range(120) if ShapeScenes().scene(index).object} == {1}
    with pytest.raises(DataError, match="0 <= fewest <= distractors"):
        ShapeScenes(fewest=2)
