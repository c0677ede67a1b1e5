"""Annotations: found by sample, regions of boxes, and the masks of a class."""

import numpy as np
import pytest

from camtool.datasets.annotations import Annotation, Annotations, bounding_box, class_masks, sample_annotations
from camtool.datasets.splits import Samples
from camtool.errors import DataError


def row(*values: int) -> np.ndarray:
    return np.array([values]) == 1


CAT, LARGE_CAT, DOG = (
    Annotation.of_mask(row(1, 0, 0, 0, 0, 0), "cat"),
    Annotation.of_mask(row(0, 0, 1, 1, 0, 0), "Cat"),
    Annotation.of_mask(row(0, 0, 0, 0, 0, 1), 3),
)


def test_the_masks_of_a_class_are_one_the_largest_or_each() -> None:
    objects = [CAT, LARGE_CAT, DOG]
    assert class_masks(objects, "cat").tolist() == [row(1, 0, 1, 1, 0, 0).tolist()]
    assert class_masks(objects, "cat", "largest").tolist() == [LARGE_CAT.mask.tolist()]
    assert class_masks(objects, "CAT", "each").tolist() == [CAT.mask.tolist(), LARGE_CAT.mask.tolist()]
    assert class_masks(objects, 3).tolist() == [DOG.mask.tolist()]
    assert class_masks(objects, ["puppy", 3, "cat"]).tolist() == [row(1, 0, 1, 1, 0, 1).tolist()]
    assert class_masks(objects).tolist() == [row(1, 0, 1, 1, 0, 1).tolist()]
    assert class_masks([CAT, Annotation.of_mask(DOG.mask)], "dog").tolist() == [DOG.mask.tolist()]  # without a label: whatever is asked


@pytest.mark.parametrize(
    ("objects", "label", "rule", "message"),
    [
        ([CAT, DOG], "horse", "union", "an annotated object of 'horse', got '3', 'cat'"),
        ([CAT, DOG], 4, "each", "an annotated object of '4', got"),
        ([], None, "union", "an annotated object of any class, got none at all"),
        ([CAT], "cat", "larger", "No rule 'larger'; closest: 'largest'"),
        ([CAT, Annotation.of_mask(row(1, 1), "cat")], "cat", "union", "objects of one sample, got sizes"),
        ([Annotation("cat", (1, 2), np.zeros((1, 2, 2)), lambda: row(0, 0))], "cat", "union", "got an empty one of 'cat'"),
    ],
)
def test_what_has_no_mask_is_one_line(objects: list[Annotation], label: str | int | None, rule: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as refused:
        class_masks(objects, label, rule)
    assert "\n" not in str(refused.value)


def test_boxes_are_filled_where_no_mask_is() -> None:
    box = Annotation("cat", (4, 6), np.array([[[1, 3], [2, 9]], [[0.0, 1.0], [0.4, 1.6]]]))
    expected = np.zeros((4, 6), bool)
    expected[1:3, 2:] = expected[0, :2] = True  # centres of pixels, within the picture
    assert box.mask is None
    np.testing.assert_array_equal(box.region, expected)
    np.testing.assert_array_equal(bounding_box(expected), [[0, 3], [0, 6]])
    with pytest.raises(DataError, match="got an empty one"):
        Annotation.of_mask(np.zeros((2, 2)))


def test_a_volume_has_boxes_of_three_axes() -> None:
    mask = np.zeros((4, 5, 6), bool)
    mask[1:3, 2, 3:] = True
    found = Annotation.of_mask(mask, 1)
    assert found.boxes.tolist() == [[[1, 3], [2, 3], [3, 6]]]
    np.testing.assert_array_equal(Annotation(1, found.size, found.boxes).region, mask)


def test_a_sample_is_found_by_its_name_with_other_folders_and_suffixes() -> None:
    entries = {"cat/1.png": 1, "dog/1.png": 2, "x.nii.gz": 3}
    found = Annotations(entries, lambda entry: (Annotation.of_mask(row(1), entry),), "folder 'masks'")
    assert [found[name][0].label for name in ("cat/1.png", "data/dog/1.jpg", "scans/x.mha", "x")] == [1, 2, 3, 3]
    assert "cat/1.jpg" in found
    assert found.get("2.jpg") is None
    assert (list(found), len(found)) == (["cat/1.png", "dog/1.png", "x.nii.gz"], 3)
    none = "there are none"
    for name, message in (("1.jpg", "several samples fit, 'cat/1.png', 'dog/1.png'"), ("cow/1.jpg", none), ("y.nii", none)):
        assert name not in found
        with pytest.raises(DataError, match=f"No annotations of '{name}' in folder 'masks': {message}"):
            found[name]


def test_samples_of_shapes_have_their_masks_and_boxes() -> None:
    from mmengine.config import Config

    data = Config({"val_dataloader": {"dataset": {"type": "camtool.Shapes", "split": "val", "count": 6}}})
    samples = Samples(data, "val", "my_config.py")
    found = sample_annotations(samples)
    assert len(found) == 6
    for index, name in enumerate(found):
        truth = samples.answers(index)
        if samples.names[samples[index].labels[0]] == "nothing":
            assert found[name] == ()
            continue
        (one,) = found[name]
        np.testing.assert_array_equal(one.mask, truth["mask"])
        np.testing.assert_array_equal(one.boxes[0], truth["box"])
        assert one.label == samples[index].labels[0]


def test_samples_without_masks_are_told() -> None:
    from mmengine.config import Config

    data = Config({"val_dataloader": {"dataset": {"type": "camtool.Shapes", "split": "val", "count": 2, "answers": False}}})
    with pytest.raises(DataError, match="Sample 'val 1' has no mask"):
        sample_annotations(Samples(data, "val", "my_config.py"))["val 1"]
