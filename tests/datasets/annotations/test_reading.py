"""Annotations from files: COCO, VOC, ImageNet, CUB, pictures and volumes of masks, and what is wrong with them in one line."""

import json
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from camtool.datasets.annotations import class_masks, read_annotations
from camtool.datasets.annotations.xml_tree import read_xml
from camtool.errors import DataError

COCO: dict[str, Any] = {
    "images": [{"id": 7, "file_name": "val/a.jpg", "height": 3, "width": 4}, {"id": 8, "file_name": "val/b.jpg", "height": 3, "width": 4}],
    "categories": [{"id": 3, "name": "cat"}, {"id": 5, "name": "dog"}],
    "annotations": [
        {"image_id": 7, "category_id": 3, "bbox": [1, 0, 2, 2], "segmentation": [[1, 0, 3, 0, 3, 2, 1, 2]]},
        {"image_id": 7, "category_id": 5, "segmentation": {"size": [3, 4], "counts": [9, 3]}, "iscrowd": 1},
        {"image_id": 7, "category_id": 5, "bbox": [0, 1.5, 1, 1.5], "segmentation": []},
        {"image_id": 7, "category_id": 3, "bbox": [0, 0, 1, 3], "segmentation": {"size": [3, 4], "counts": "039"}},
    ],
}
VOC = """<annotation><filename>a.jpg</filename><size><width>6</width><height>4</height><depth>3</depth></size>
<object><name>dog</name><part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>1</xmax><ymax>1</ymax></bndbox></part>
<bndbox><xmin>3</xmin><ymin>2</ymin><xmax>6</xmax><ymax>3</ymax></bndbox></object>
</annotation>"""


def written(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def with_change(place: str, value: Any) -> dict[str, Any]:
    """Return COCO's content with the value at "annotations.0.bbox" changed; None: taken away."""
    content = json.loads(json.dumps(COCO))
    *path, last = [int(part) if part.isdigit() else part for part in place.split(".")]
    inner: Any = content
    for part in path:
        inner = inner[part]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return content


def test_coco_has_polygons_runs_and_boxes(tmp_path: Path) -> None:
    found = read_annotations(written(tmp_path / "c.json", COCO), "coco")
    assert list(found) == ["val/a.jpg", "val/b.jpg"]
    assert found["b.jpg"] == ()
    square, crowd, box, column = found["val/a.jpg"]
    assert [one.label for one in (square, crowd, box, column)] == ["cat", "dog", "dog", "cat"]
    assert square.mask.astype(int).tolist() == [[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    assert square.boxes.tolist() == [[[0, 2], [1, 3]]]
    assert crowd.mask.astype(int).tolist() == [[0, 0, 0, 1]] * 3
    assert crowd.boxes.tolist() == [[[0, 3], [3, 4]]]
    assert box.mask is None
    assert box.region.astype(int).tolist() == [[0, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]]  # centres from 1.5 on
    assert column.mask.astype(int).tolist() == [[1, 0, 0, 0]] * 3
    assert class_masks(found["a.jpg"], "cat")[0].sum() == 7
    assert [one.label for one in pickle.loads(pickle.dumps(found))["val/a.jpg"]] == ["cat", "dog", "dog", "cat"]  # for worker processes


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"images": [\n}', r"c.json', line 2: "),
        ("[]", "holds a list; expected COCO's"),
        (with_change("categories", None), "has no list 'categories'"),
        (with_change("images", [3]), r"c.json': images\[0\]: expected a dict, got a int"),
        (with_change("images.1.width", None), r"c.json': images\[1\].width: expected a number or a name, got None"),
        (with_change("images.1.width", 0), r"images\[1\]: expected a height and a width in pixels, got 3 and 0"),
        (with_change("images.1.width", 10**9), r"images\[1\]: expected a height and a width"),
        (with_change("annotations.2.category_id", 4), r"annotations\[2\].category_id: expected one of the file's, got 4"),
        (with_change("annotations.0.bbox", [1, 2]), r"annotations\[0\].bbox: expected x, y, width and height, got \[1, 2\]"),
        (with_change("annotations.0.bbox", [1, 2, -3, 4]), r"annotations\[0\].bbox"),
        (with_change("annotations.2.bbox", None), r"annotations\[2\].bbox: expected x, y, width and height, got None"),
        (with_change("annotations.0.segmentation", [[1, 2, 3]]), r"annotations\[0\].segmentation: expected a polygon of x and y"),
        (with_change("annotations.0.segmentation", "x"), r"annotations\[0\].segmentation: expected polygons, or run lengths"),
        (with_change("annotations.1.segmentation.size", [4, 3]), r"annotations\[1\].segmentation: expected the size \[3, 4\] of its image"),
        (with_change("annotations.1.segmentation.counts", [9, 4]), r"annotations\[1\].segmentation: expected runs of 0 or more"),
        (with_change("annotations.3.segmentation.counts", "0 9"), r"annotations\[3\].segmentation: expected a compressed mask"),
    ],
)
def test_what_is_wrong_with_coco_is_one_line_with_its_place(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(DataError, match=message) as refused:
        _ = [one.mask for one in read_annotations(written(tmp_path / "c.json", content), "coco")["val/a.jpg"]]
    assert "\n" not in str(refused.value)
    assert "c.json" in str(refused.value)


def test_voc_counts_pixels_from_one_and_imagenet_borders_from_zero(tmp_path: Path) -> None:
    written(tmp_path / "sub" / "a.xml", VOC)
    (one,) = read_annotations(tmp_path, "voc")["pictures/sub/a.jpg"]
    assert (one.label, one.size, one.boxes.tolist()) == ("dog", (4, 6), [[[1, 3], [2, 6]]])
    (one,) = read_annotations(tmp_path, "imagenet")["a.JPEG"]
    assert one.boxes.tolist() == [[[2, 3], [3, 6]]]
    assert read_annotations(tmp_path / "sub" / "a.xml", "voc")["a.jpg"][0].size == (4, 6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("</annotation>", ""), "line 4: no element found|line 3: no element found"),
        (("<width>6</width>", ""), r"line 1: expected one <width> in <size>, got 0; closest: 'depth'; it has depth, height"),
        (("<width>6</width>", "<width>six</width>"), "line 1: expected a number in <width>, got 'six'"),
        (("<width>6", "<width>0"), "line 1: expected a size above 0"),
        (("<xmax>6</xmax>", "<xmax>2</xmax>"), "line 3: expected xmin and ymin below"),
        (("<ymin>2</ymin>", "<ymin>nan</ymin>"), "line 3: expected a number in <ymin>, got 'nan'"),
        (("<name>dog</name>", ""), r"line 2: expected one <name> in <object>, got 0"),
        (("<annotation>", '<!DOCTYPE a [<!ENTITY b "b">]><annotation>'), "line 1: a document type is not read"),
        (("<annotation>", '<!DOCTYPE a SYSTEM "file:///etc/hostname"><annotation>'), "line 1: a document type is not read"),
        (("<name>dog", "<name>&b;dog"), "line 2: undefined entity"),
        (("<name>dog</name>", "<a>" * 40 + "</a>" * 40), "line 2: elements are deeper than 32"),
    ],
)
def test_what_is_wrong_with_voc_is_one_line_with_its_line(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    path = written(tmp_path / "a.xml", VOC.replace(*change))
    with pytest.raises(DataError, match=message) as refused:
        read_annotations(path, "voc")["a"]
    assert re.match(rf"'{path}'", str(refused.value))
    assert "\n" not in str(refused.value)


def test_entities_that_grow_are_not_read(tmp_path: Path) -> None:
    entities = "".join(f'<!ENTITY e{k} "{f"&e{k - 1};" * 10}">' for k in range(1, 10))
    path = written(tmp_path / "a.xml", f'<!DOCTYPE a [<!ENTITY e0 "ha">{entities}]><a>&e9;</a>')
    with pytest.raises(DataError, match="document type is not read"):
        read_xml(path)
    path.write_bytes(b"<a>" + b" " * 10_000_001 + b"</a>")
    with pytest.raises(DataError, match="more than 10000000 bytes"):
        read_xml(path)


def cub(folder: Path) -> Path:
    written(folder / "images.txt", "1 001.Gull/a.jpg\n2 002.Crow/b.jpg\n")
    written(folder / "bounding_boxes.txt", "1 2.0 1.0 3.0 2.0\n2 0.0 0.0 1.0 1.0\n")
    written(folder / "image_class_labels.txt", "1 1\n2 2\n")
    values = np.zeros((4, 6), np.uint8)
    values[1:3, 2:5], values[0, 0] = 204, 51  # most people; one of five
    (folder / "segmentations/001.Gull").mkdir(parents=True)
    Image.fromarray(values).save(folder / "segmentations/001.Gull/a.png")
    return folder


def test_cub_has_boxes_and_what_most_people_marked(tmp_path: Path) -> None:
    found = read_annotations(cub(tmp_path), "cub")
    (one,) = found["001.Gull/a.jpg"]
    assert (one.label, one.size, one.boxes.tolist()) == (0, (4, 6), [[[1, 3], [2, 5]]])
    assert int(one.mask.sum()) == 6
    np.testing.assert_array_equal(one.mask, type(one)(0, one.size, one.boxes).region)
    with pytest.raises(DataError, match=r"Neither .*b.png' nor .*b.jpg' exists"):
        found["002.Crow/b.jpg"]
    (tmp_path / "images/002.Crow").mkdir(parents=True)
    Image.new("RGB", (5, 7)).save(tmp_path / "images/002.Crow/b.jpg")
    (one,) = found["b.jpg"]
    assert (one.label, one.size, one.mask) == (1, (7, 5), None)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("bounding_boxes.txt", "1 2 1 3 2\n2 0 0 1\n", r"bounding_boxes.txt', line 2: expected 4 numbers of 0 or more, got '0 0 1'"),
        ("bounding_boxes.txt", "1 2 1 3 2\n", r"images.txt', line 2: image 2 is not in bounding_boxes.txt"),
        ("image_class_labels.txt", "1 one\n", r"image_class_labels.txt', line 1: expected 1 number of 0 or more, got 'one'"),
        ("images.txt", "\n", r"images.txt', line 1: expected the number of an image"),
        ("images.txt", "1 ../../a.jpg\n", r"images.txt', line 1: expected a path within the data set"),
    ],
)
def test_what_is_wrong_with_cub_is_one_line_with_its_line(tmp_path: Path, file: str, text: str, message: str) -> None:
    written(cub(tmp_path) / file, text)
    with pytest.raises(DataError, match=message):
        read_annotations(tmp_path, "cub")


def test_pictures_of_masks_have_indices_or_two_values(tmp_path: Path) -> None:
    values = np.zeros((4, 6), np.uint8)
    values[0, 0], values[2:, 3:], values[1, 1] = 255, 15, 3
    (tmp_path / "cat").mkdir()
    indexed = Image.frombytes("P", (6, 4), values.tobytes())
    indexed.putpalette([k for k in range(256) for _ in range(3)])
    indexed.save(tmp_path / "cat/indexed.png")
    Image.fromarray(values).save(tmp_path / "cat/grey.png")
    Image.fromarray((values == 15) * np.uint8(255)).save(tmp_path / "cat/two.png")
    Image.fromarray(values == 15).save(tmp_path / "cat/bits.png")
    Image.fromarray(np.repeat((values == 15)[..., None], 3, axis=2) * np.uint8(200)).save(tmp_path / "cat/colour.png")
    Image.fromarray(values.astype(np.uint16) * 100).save(tmp_path / "cat/wide.png")
    Image.fromarray(0 * values).save(tmp_path / "cat/empty.png")
    found = read_annotations(tmp_path, "masks")
    names = ("indexed", "grey", "two", "bits", "colour", "wide", "empty")
    labels = {name: [one.label for one in found[f"cat/{name}.jpg"]] for name in names}
    assert labels == {
        "indexed": [3, 15],
        "grey": [3, 15, 255],
        "two": [None],
        "bits": [None],
        "colour": [None],
        "wide": [300, 1500, 25500],
        "empty": [],
    }
    for name, place in (("indexed", 1), ("two", 0), ("bits", 0), ("colour", 0), ("wide", 1)):
        np.testing.assert_array_equal(found[f"cat/{name}.jpg"][place].mask, values == 15)
        assert found[f"cat/{name}.jpg"][place].boxes.tolist() == [[[2, 4], [3, 6]]]
    (tmp_path / "cat/broken.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"Mask .*broken.png' cannot be read"):
        read_annotations(tmp_path, "masks")["broken"]


def test_volumes_of_masks_have_labels(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    values = np.zeros((4, 5, 6), np.int16)
    values[1:3, 2, 3:] = 2
    nibabel.save(nibabel.Nifti1Image(values, np.diag([1, 1, 2, 1])), tmp_path / "x.nii.gz")
    (one,) = read_annotations(tmp_path, "volumes")["scans/x.mha"]
    assert (one.label, one.size, one.boxes.tolist()) == (2, (4, 5, 6), [[[1, 3], [2, 3], [3, 6]]])
    np.testing.assert_array_equal(one.mask, values == 2)
    nibabel.save(nibabel.Nifti1Image(values.astype(np.float32) / 4, np.eye(4)), tmp_path / "y.nii")
    with pytest.raises(DataError, match=r"mask of whole numbers, got 0.5 in .*y.nii"):
        read_annotations(tmp_path, "volumes")["y"]


@pytest.mark.parametrize("kind", ["coco", "voc", "imagenet", "cub", "masks", "volumes"])
def test_nothing_there_is_one_line(tmp_path: Path, kind: str) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(DataError) as refused:
            read_annotations(path, kind)
        assert str(tmp_path) in str(refused.value)
        assert "\n" not in str(refused.value)


def test_a_kind_that_does_not_exist_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="kind 'cocos'; closest: 'coco', 'voc'; expected coco, voc, imagenet, cub, masks, volumes"):
        read_annotations(tmp_path, "cocos")
