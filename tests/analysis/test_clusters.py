"""Clusters of maps: a planted watermark stands out; what is clustered, and the numbers, against literal replicas."""

import csv
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from camtool.analysis.class_maps import ClassMaps, class_maps
from camtool.analysis.clusters import embedding, find_clusters
from camtool.analysis.sheets import sheet
from camtool.analysis.sources import Source
from camtool.apis.stored_pictures import StoredPictures
from camtool.errors import DataError
from camtool.store.schema import Row
from camtool.visualization.contact_sheet import contact_sheet, map_alone
from tests.analysis.stores import random_rows, write_store
from tests.analysis.watermarks import MARKED, watermark_store
from tests.cli.fixtures import Run, pixels
from tests.runs import tiny

HERE = Source("gradcam", "layer4")


def _maps(points: list[list[float]], **columns: object) -> ClassMaps:
    rows = [{"id": k, "label": 0, "predicted": 0, "target": 0, "probability": 0.5, **columns} for k in range(len(points))]
    return ClassMaps(0, rows, torch.tensor(points), 0)


def _blobs(sizes: list[int], spread: float = 0.02) -> ClassMaps:
    """Return maps of so many groups, each around a place of its own."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.eye(len(sizes), 12)
    parts = [centres[k] + spread * torch.randn(size, 12, generator=generator) for k, size in enumerate(sizes)]
    return _maps(torch.cat(parts).tolist())


@pytest.mark.parametrize("algorithm", ["kmeans", "spectral"])
def test_a_watermark_stands_out_with_its_share(tmp_path: Path, algorithm: str) -> None:
    store, marked = watermark_store(tmp_path)
    names = store.run["class_names"]
    separations = {}
    for index, found in class_maps(store, Source("gradcam", "features"), range(len(names))).items():
        name = names[index]
        first = find_clusters(found, algorithm=algorithm)[0]
        separations[name] = first.separation
        if name == MARKED:
            assert {found.rows[member]["id"] for member in first.members} == marked
            assert first.share == pytest.approx(0.4)
    assert separations.pop(MARKED) > 0.9
    assert all(math.isnan(value) or value < 0.5 for value in separations.values())


def test_what_is_clustered_is_the_positive_part_at_one_size_and_one_length(tmp_path: Path) -> None:
    large, small = torch.zeros(8, 8), torch.zeros(4, 4)
    large[:2, :2], small[0, 0] = 3.0, 50.0  # the same quarter of a quarter of the input
    large[7, 7] = -9.0
    place = {"gradcam": (8.0, 8.0, 3.5, 3.5), "small": (16.0, 16.0, 7.5, 7.5)}
    rows = [
        Row(k, f"{k}", "gradcam", label=0, predicted=0, target=0, layer="layer4", map=raw, placement=place[name])
        for k, (raw, name) in enumerate([(large, "gradcam"), (small, "small"), (-large.abs(), "gradcam")])
    ]
    found = class_maps(write_store(tmp_path / "store", rows), HERE, [0], side=4)[0]

    torch.testing.assert_close(found.maps[0].norm(), torch.tensor(1.0))
    assert found.maps[:2].argmax(dim=1).tolist() == [0, 0]
    assert float(found.maps[0] @ found.maps[1]) > 0.98
    assert not found.maps[2].any()


@pytest.mark.parametrize("errors", [False, True])
def test_maps_are_of_a_class_or_of_its_errors(tmp_path: Path, errors: bool) -> None:
    rows = random_rows()
    store = write_store(tmp_path / "store", rows)
    every = class_maps(store, HERE, range(3), errors=errors)
    for index, found in every.items():
        own = [row for row in rows if row.label == index]
        wanted = [row.id for row in own if row.map is not None and (row.predicted != index if errors else row.predicted == index)]

        assert [row["id"] for row in found.rows] == wanted
        assert found.left_out == sum(row.map is None for row in own)
    assert class_maps(store, HERE, [2], errors=errors)[2].rows == every[2].rows


def test_without_labels_a_class_is_what_is_predicted(tmp_path: Path) -> None:
    place = (8.0, 8.0, 3.5, 3.5)
    rows = [
        Row(k, f"{k}", "gradcam", predicted=k % 2, target=target, layer="layer4", map=torch.ones(2, 2), placement=place)
        for k in range(5)
        for target in (0, 1)
    ]
    assert [row["id"] for row in class_maps(write_store(tmp_path / "store", rows), HERE, [1])[1].rows] == [1, 3]


@pytest.mark.parametrize("algorithm", ["kmeans", "spectral"])
def test_groups_are_found_with_their_number_and_twice_the_same(algorithm: str) -> None:
    found = _blobs([10, 25, 5])

    first, again = (find_clusters(found, algorithm=algorithm, seed=3) for _ in range(2))

    assert first == again
    assert sorted(sorted(one.members) for one in first) == [list(range(10)), list(range(10, 35)), list(range(35, 40))]
    assert sorted(one.share for one in first) == [0.125, 0.25, 0.625]
    assert [one.separation for one in first] == sorted((one.separation for one in first), reverse=True)
    assert len(find_clusters(found, 2, algorithm=algorithm)) == 2


def test_maps_without_groups_are_one_cluster() -> None:
    points = torch.randn(60, 12, generator=torch.Generator().manual_seed(0))
    (only,) = find_clusters(_maps(points.tolist()))
    assert only.share == 1
    assert math.isnan(only.separation)


def test_separation_is_the_literal_mean_silhouette_and_the_most_typical_come_first() -> None:
    found = _blobs([6, 9], spread=0.2)
    points = found.maps.double().tolist()

    parts = find_clusters(found, 2)

    def mean_distance(point: list[float], others: list[int]) -> float:
        return sum(math.dist(point, points[other]) for other in others) / len(others)

    for part, other in itertools.permutations(parts, 2):
        silhouettes = []
        for member in part.members:
            inside = mean_distance(points[member], [m for m in part.members if m != member])
            outside = mean_distance(points[member], list(other.members))
            silhouettes.append((outside - inside) / max(inside, outside))
        assert part.separation == pytest.approx(sum(silhouettes) / len(silhouettes), abs=1e-9)
        centre = [sum(points[m][axis] for m in part.members) / len(part.members) for axis in range(12)]
        assert list(part.members) == sorted(part.members, key=lambda m: math.dist(points[m], centre))


def test_shares_of_errors_and_probabilities_are_of_the_members() -> None:
    found = _blobs([4, 4])
    for place, row in enumerate(found.rows):
        row.update(predicted=int(place in (0, 4, 5)), probability=place / 8 if place else None)  # type: ignore[attr-defined]

    by_first = {min(part.members): part for part in find_clusters(found, 2)}

    assert (by_first[0].errors, by_first[4].errors) == (0.25, 0.5)
    assert by_first[0].probability == pytest.approx((1 + 2 + 3) / 8 / 3)


def test_what_cannot_be_clustered_is_refused() -> None:
    same = _maps([[1.0, 0.0]] * 5)
    with pytest.raises(DataError, match="Expected 1 to 1 clusters of 5 maps, 1 of them different, got 2"):
        find_clusters(same, 2)
    assert find_clusters(same)[0].share == 1
    with pytest.raises(DataError, match="has no map to cluster"):
        find_clusters(ClassMaps(0, [], torch.empty(0, 0), 3))
    with pytest.raises(DataError, match="closest: 'kmeans'"):
        find_clusters(same, algorithm="k-means")
    with pytest.raises(DataError, match="expected pca or tsne"):
        embedding(same, "umap")
    assert [len(one.members) for one in find_clusters(_maps([[1.0, 0.0], [0.0, 1.0]]), 2, algorithm="spectral")] == [1, 1]


def test_the_embedding_is_that_of_principal_components() -> None:
    from sklearn.decomposition import PCA

    found = _blobs([10, 25, 5], spread=0.1)
    places, peers = embedding(found), PCA(2).fit_transform(found.maps.double().numpy())

    for axis in range(2):
        assert min(np.abs(places[:, axis] - sign * peers[:, axis]).max() for sign in (1, -1)) < 1e-9
    assert embedding(_maps([[1.0, 2.0]])).tolist() == [[0.0, 0.0]]


def test_neighbours_stay_neighbours_in_the_plane() -> None:
    found = _blobs([12, 12], spread=0.05)
    places = embedding(found, "tsne")
    apart = np.linalg.norm(places[:12].mean(axis=0) - places[12:].mean(axis=0))
    assert apart > 3 * places[:12].std()
    assert np.array_equal(places, embedding(found, "tsne"))


def test_sheets_are_drawn_for_signals_pictures_and_volumes() -> None:
    for shape in ((30,), (20, 30), (5, 20, 30)):
        tiles = [map_alone(np.linspace(0, 1, math.prod(shape)).reshape(shape), f"{k}") for k in range(5)]
        drawn = contact_sheet(tiles, "all")
        assert drawn.std() > 10


def test_a_picture_of_another_size_is_left_out_with_a_remark(tmp_path: Path) -> None:
    store, _ = watermark_store(tmp_path, 12)
    source = Source("gradcam", "features")
    row = {"id": 1, "target": 1}
    with_picture = sheet(store, source, [row], ["1"], "one", StoredPictures(store, root=tmp_path / "pictures", guess=False))
    with pytest.warns(UserWarning, match=r"without their samples \(1 of 1\): No file '.*/1.png'"):
        alone = sheet(store, source, [row], ["1"], "one", StoredPictures(store, root=tmp_path, guess=False))
    assert not np.array_equal(with_picture, alone)
    Image.open(tmp_path / "pictures" / "1.png").resize((50, 60)).save(tmp_path / "pictures" / "1.png")
    with pytest.warns(UserWarning, match="another size"):
        np.testing.assert_array_equal(
            sheet(store, source, [row], ["1"], "one", StoredPictures(store, root=tmp_path / "pictures", guess=False)), alone
        )


def test_the_command_writes_a_table_a_plot_and_a_sheet_a_cluster(run: Run, tmp_path: Path) -> None:
    store, marked = watermark_store(tmp_path)

    report = run("analyze", "clusters", store.folder, "--class", MARKED, "--embedding", "tsne", "--json").report

    first = report["clusters"][0]
    assert (first["name"], first["cluster"], first["share"], first["maps"]) == (MARKED, 1, 0.4, len(marked))
    table, plot, *sheets = report["outputs"]
    with open(table, encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {int(row["id"]) for row in rows if row["cluster"] == "1"} == marked
    assert len(sheets) == len(report["clusters"])
    assert report["warnings"] == []
    assert pixels(plot).std() > 5
    assert pixels(sheets[0]).shape[0] > 600


def test_figures_of_errors_say_so(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = write_store(tmp_path / "store", random_rows(30), class_names=["cat", "dog", "fox", "owl"])
    said: list[str] = []

    def drawn(*arguments: object) -> np.ndarray:
        said.extend(text for text in arguments if isinstance(text, str))
        return np.zeros((8, 8, 3), np.uint8)

    monkeypatch.setattr("camtool.analysis.sheets.sheet", drawn)
    for options, title in (((), "cat"), (("--errors",), "cat, predicted otherwise")):
        said.clear()
        assert run("analyze", "clusters", store.folder, "--class", "cat", "--clusters", "1", *options).exit_code == 0
        (heading,) = said
        assert heading.startswith(f"{title}, cluster 1: 100% of")


def test_mistakes_of_the_command_are_one_line(run: Run, tmp_path: Path) -> None:
    store, _ = watermark_store(tmp_path, 30)
    for arguments, words in (
        (("--class", "disk"), "No class 'disk'; closest: 'disc'"),
        (("--class", "6"), "or an index below 6"),
        (("--class", "disc", "--clusters", "40"), "Expected 1 to 5 clusters of 5 maps"),
        (("--errors",), "No wrongly predicted sample"),
        (("--algorithm", "dbscan"), "expected kmeans or spectral"),
        (("--embedding", "umap"), "expected pca or tsne"),
    ):
        finished = run("analyze", "clusters", store.folder, *arguments)
        assert finished.exit_code == 2, finished.stdout
        assert words in finished.stderr
    assert not (tmp_path / "store-analysis").exists()


def test_a_sheet_shows_what_is_positive(tmp_path: Path) -> None:
    raw = torch.tensor([[3.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, -9.0]])  # no cells of two signs are neighbours
    drawn = []
    for name, values in (("signed", raw), ("positive", raw.clamp(min=0)), ("reversed", -raw)):
        row = Row(0, "0.png", method="gradcam", layer="[0]", label=0, predicted=0, target=0, map=values, placement=(8.0, 8.0, 3.5, 3.5))
        store = write_store(tmp_path / name, [row])
        with pytest.warns(UserWarning, match="without their samples"):
            drawn.append(sheet(store, Source("gradcam", "[0]"), [{"id": 0, "target": 0}], ["0"], "one", StoredPictures(store)))
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_the_preprocessing_of_a_config_crops_the_pictures_of_a_sheet(run: Run, tmp_path: Path) -> None:
    config = tiny.config(tmp_path)
    config.write_text(tiny.CONFIG.replace("dict(mean", f"dict(resize={tiny.SIZE}, crop={tiny.SIZE}, mean"))
    tiny.pictures(tmp_path / "cropped", 9)
    for path in (tmp_path / "cropped").glob("*/*.png"):
        wide = tmp_path / "wide" / path.relative_to(tmp_path / "cropped")
        wide.parent.mkdir(parents=True, exist_ok=True)
        cropped = np.asarray(Image.open(path))
        Image.fromarray(np.pad(cropped, ((0, 0), (10, 10), (0, 0)), constant_values=255)).save(wide)
    assert run("run", config, "--data", "wide", "--out", "store", "--method", "gradcam").exit_code == 0
    command = ("analyze", "clusters", "store", "--class", "second", "--clusters", "1", "--json")

    seen = run(*command, "--config", config, "--out", "a").report
    literal = run(*command, "--data", "cropped", "--out", "b").report
    unknown = run(*command, "--out", "c").report

    assert seen["warnings"] == literal["warnings"] == []
    drawn = [pixels(report["outputs"][-1]).astype(int) for report in (seen, literal)]
    assert np.abs(drawn[0] - drawn[1]).max() <= 1  # the part that was seen is resampled where it was measured to lie, as for other figures
    assert "another size than the network's input" in unknown["warnings"][0]
    assert not np.array_equal(pixels(seen["outputs"][-1]), pixels(unknown["outputs"][-1]))
