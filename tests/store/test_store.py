"""What is written into a store is what is read from it: maps bit for bit, NULLs, shapes, filters, places."""

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as datasets
import pyarrow.parquet as pq
import pytest
import torch

import camtool.store
from camtool.errors import DataError
from camtool.placement import Placement, placed
from camtool.store.layout import read_run
from camtool.store.schema import Row
from camtool.store.writer import encode_shard
from tests.store.made import INPUT, failed, make_store, random_rows, shards_of, unmade

HALF_STEP = 2.0**-12
"""Largest error of rounding a number in [-1, 1] to float16."""


def test_maps_come_back_bit_for_bit(tmp_path: Path) -> None:
    odd = torch.tensor([[-0.0, 1e-45, 3.4e38], [float("inf"), -1e-30, 1 / 3]])

    def rows(samples: Sequence[int]) -> list[Row]:
        return [dataclasses.replace(row, map=odd if row.id == 3 else row.map) for row in random_rows(samples)]

    store = camtool.store.open(make_store(tmp_path / "store", rows=rows))
    written = [row for shard in shards_of(20, 8) for row in rows(shard)]
    read = list(store)
    assert [row["id"] for row in read] == list(range(20))
    for before, after in zip(written, read, strict=True):
        assert before.map is not None
        assert after.map is not None
        assert after.map.dtype == torch.float32
        assert before.map.numpy().tobytes() == after.map.numpy().tobytes()
        for name in ("path", "digest", "label", "predicted", "target", "probability", "logit", "method", "layer", "status", "reason"):
            assert after[name] == getattr(before, name)
        assert (after["min"], after["max"]) == (float(before.map.amin()), float(before.map.amax()))
        assert after["sum"] == float(before.map.double().sum())


def test_half_maps_are_as_near_as_their_scale_says(tmp_path: Path) -> None:
    factors = [1.0, 1e-30, 1e30, 0.0, -7.0]

    def rows(samples: Sequence[int]) -> list[Row]:
        return [dataclasses.replace(row, map=row.map * factors[row.id % len(factors)]) for row in random_rows(samples)]  # type: ignore[operator]

    store = camtool.store.open(make_store(tmp_path / "store", rows=rows, half=True))
    assert store.half
    written = [row for shard in shards_of(20, 8) for row in rows(shard)]
    worst = 0.0
    for before, after in zip(written, store, strict=True):
        assert before.map is not None
        assert after.map is not None
        assert after["scale"] == float(before.map.double().abs().amax())
        assert after.map.abs().amax() == before.map.abs().amax()  # 1 has no rounding error
        error = float((after.map.double() - before.map.double()).abs().amax())
        assert error <= 1.001 * HALF_STEP * after["scale"]
        worst = max(worst, error / after["scale"] if after["scale"] else 0.0)
        assert after["sum"] == float(before.map.double().sum())  # that of the map before it is rounded
    assert worst > HALF_STEP / 4  # the bound is no idle one


def test_samples_without_a_map_are_rows_with_nulls(tmp_path: Path) -> None:
    folder = make_store(tmp_path / "store", 3, rows=lambda _: [failed(0), *random_rows([1]), failed(2)])
    missing, whole, _ = camtool.store.open(folder)
    for name in ("target", "predicted", "probability", "logit", "layer", "map_shape", "placement", "min", "max", "sum", "digest"):
        assert missing[name] is None
    assert missing.map is None
    assert missing.placement is None
    assert missing.input_size is None
    assert (missing["status"], missing["reason"]) == ("unreadable", "the file is truncated")
    assert whole.map is not None
    with pytest.raises(DataError, match="Sample 0 has no map: unreadable"):
        missing.resized()


def test_a_shard_has_maps_of_several_shapes(tmp_path: Path) -> None:
    shapes = [(4, 6), (7,), (2, 3, 4), (1, 1)]

    def rows(samples: Sequence[int]) -> list[Row]:
        flat = random_rows(samples, size=(24,))
        return [dataclasses.replace(row, map=torch.rand(shapes[row.id], generator=seeded(row.id))) for row in flat]

    store = camtool.store.open(make_store(tmp_path / "store", len(shapes), rows=lambda samples: [_as_deep(row) for row in rows(samples)]))
    for shape, before, row in zip(shapes, rows(range(4)), store, strict=True):
        assert row.map is not None
        assert torch.equal(row.map, before.map)
        assert tuple(row.map.shape) == shape
    with pytest.raises(DataError, match="Expected maps of one shape, got 4"):
        store.maps()


def seeded(number: int) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def _as_deep(row: Row) -> Row:
    """Return the row with a placement and an input of the map's number of axes."""
    assert row.map is not None
    size = [8 * cells for cells in row.map.shape]
    place = Placement.even(row.map.shape, size)
    return dataclasses.replace(row, placement=(*place.scale, *place.offset), input_size=tuple(size))


def test_rows_are_chosen_by_values_and_by_null(tmp_path: Path) -> None:
    store = camtool.store.open(make_store(tmp_path / "store", 30, rows=lambda samples: random_rows(samples, methods=("gradcam", "fem"))))
    assert len(list(store)) == 60
    assert {row["method"] for row in store.where(method="fem")} == {"fem"}
    assert [row["id"] for row in store.where(method="fem", label=None)] == [6, 13, 20, 27]
    assert [row["id"] for row in store.where(method="fem", label=[None, 2])] == [2, 5, 6, 8, 11, 13, 14, 17, 20, 23, 26, 27, 29]
    assert [row["id"] for row in store.where(method="fem").where(id=range(3, 5))] == [3, 4]
    assert list(store.where(label=[])) == []
    assert store.where(label=[0, 1]).distinct("label") == [0, 1]
    assert store.distinct("label") == [0, 1, 2]
    assert len(store.where(method="fem").maps()) == 30
    assert store.where(label=None).table(["id"])["id"].to_pylist() == [6, 6, 13, 13, 20, 20, 27, 27]


@pytest.mark.parametrize("conditions", [{"label": "cat"}, {"id": 2.5}, {"path": 3}, {"label": {"a": 1}}])
def test_a_value_of_another_type_is_refused(tmp_path: Path, conditions: dict[str, object]) -> None:
    store = camtool.store.open(make_store(tmp_path / "store"))
    with pytest.raises(DataError, match="expected values of the type"):
        list(store.where(**conditions))


def test_columns_that_do_not_exist_are_refused_with_the_nearest(tmp_path: Path) -> None:
    store = camtool.store.open(make_store(tmp_path / "store"))
    with pytest.raises(DataError, match="closest: 'method'"):
        store.where(methd="fem")
    with pytest.raises(DataError, match="closest: 'probability'"):
        list(store.tables(["probabilty"]))


@pytest.mark.parametrize("place", [Placement.even((4, 6), INPUT), Placement((8.0, 8.0), (0.0, 3.0)), Placement((9.5, 7.25), (-2.0, 6.5))])
def test_maps_are_resized_where_their_cells_lie(tmp_path: Path, place: Placement) -> None:
    def rows(samples: Sequence[int]) -> list[Row]:
        return [dataclasses.replace(row, placement=(*place.scale, *place.offset)) for row in random_rows(samples)]

    store = camtool.store.open(make_store(tmp_path / "store", 5, rows=rows))
    for row in store:
        assert row.map is not None
        assert row.placement is not None
        assert (row.placement.scale, row.placement.offset) == (place.scale, place.offset)
        assert row.input_size == INPUT
        assert torch.equal(row.resized(), placed(row.map[None], INPUT, place)[0])
        # Twice as many pixels: a pixel of the input is the mean of the two at its places, where the map is linear.
        large, own = row.resized((64, 96)), row.resized()
        halved = large.view(32, 2, 48, 2).mean(dim=(1, 3))
        inner = (slice(6, 26), slice(8, 40))
        assert (halved - own)[inner].abs().amax() < 0.5
        assert (halved - own)[inner].abs().median() < 1e-5
    assert store.maps((16, 24)).shape == (5, 16, 24)


def test_the_inputs_size_is_the_stored_one_where_the_placement_does_not_tell_it(tmp_path: Path) -> None:
    """ResNet's 8 cells of 32 pixels lie on an input of 225 pixels."""

    def rows(samples: Sequence[int]) -> list[Row]:
        row = random_rows(samples)[0]
        return [dataclasses.replace(row, map=torch.ones(8, 8), placement=(32.0, 32.0, 0.0, 0.0), input_size=(225, 225))]

    (row,) = camtool.store.open(make_store(tmp_path / "store", 1, rows=rows))
    assert row.input_size == (225, 225)
    assert row.resized().shape == (225, 225)


def test_equal_rows_give_equal_bytes() -> None:
    first, second = (encode_shard(random_rows(range(40), methods=("gradcam", "fem"))) for _ in range(2))
    assert first == second
    assert first != encode_shard(random_rows(range(40), methods=("gradcam", "fem"), seed=1))


def test_importances_come_back(tmp_path: Path) -> None:
    def rows(samples: Sequence[int]) -> list[Row]:
        return [dataclasses.replace(row, importances=torch.arange(5.0) + row.id) for row in random_rows(samples)]

    store = camtool.store.open(make_store(tmp_path / "store", 3, rows=rows, importances=True))
    assert [row["importances"] for row in store] == [[0, 1, 2, 3, 4], [1, 2, 3, 4, 5], [2, 3, 4, 5, 6]]


def test_names_that_are_no_text_are_written_as_escapes(tmp_path: Path) -> None:
    odd = "caf\udce9/\udcff.png"
    folder = make_store(tmp_path / "store", 1, rows=lambda _: [dataclasses.replace(failed(0), path=odd, reason=odd)], root=odd)
    (row,) = camtool.store.open(folder)
    assert row["path"] == row["reason"] == r"caf\udce9/\udcff.png"
    assert read_run(folder)["root"] == odd  # a folder that can be opened
    (folder / "run.json").read_text(encoding="utf-8")


def test_a_run_that_has_not_ended_is_read_as_far_as_it_is(tmp_path: Path) -> None:
    folder = make_store(tmp_path / "store", 20, 8)
    assert camtool.store.open(folder).is_complete
    unmade(folder, 1)
    store = camtool.store.open(folder)
    assert store.shards == [0, 2]
    assert not store.is_complete
    assert [row["id"] for row in store] == [*range(8), *range(16, 20)]
    shutil.copy(folder / "maps-000000.parquet", folder / "maps-000007.parquet")  # as many files as shards, but not those
    assert not store.is_complete


# other programs


@pytest.fixture
def store_of_others(tmp_path: Path) -> Path:
    return make_store(
        tmp_path / "store", 20, 8, rows=lambda samples: [failed(0), *random_rows(samples[1:])] if 0 in samples else random_rows(samples)
    )


def test_duckdb_reads_a_store_alone(store_of_others: Path) -> None:
    import duckdb

    rows = duckdb.sql(f"SELECT id, label, map, map_shape FROM '{store_of_others}/*.parquet' ORDER BY id").fetchall()
    expected = [
        (row["id"], row["label"], None if row.map is None else row.map.flatten().tolist()) for row in camtool.store.open(store_of_others)
    ]
    assert [(i, label, values) for i, label, values, _ in rows] == expected
    assert rows[1][3] == [4, 6]


def test_pyarrow_reads_a_store_alone(store_of_others: Path) -> None:
    files = sorted(store_of_others.glob("*.parquet"))
    table = datasets.dataset(files, format="parquet").to_table()
    assert table.equals(camtool.store.open(store_of_others).table())
    assert table.schema.field("label").type == pa.int64()
    assert table.schema.field("map").type == pa.list_(pa.float32())
    assert not [field.name for field in table.schema if pa.types.is_temporal(field.type)]
    assert {pq.ParquetFile(file).metadata.row_group(0).column(0).compression for file in files} == {"ZSTD"}


def test_pandas_reads_a_store_alone(store_of_others: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_parquet(sorted(store_of_others.glob("*.parquet")))
    assert frame["id"].tolist() == list(range(20))
    assert len(frame["map"][1]) == 24


def test_readers_of_a_folder_take_its_shards_alone(store_of_others: Path) -> None:
    """`_manifest` they leave out themselves, `run.json` where they are told to."""
    pandas = pytest.importorskip("pandas")
    expected = camtool.store.open(store_of_others).table()
    leave_out = ["_", ".", "run.json"]
    assert datasets.dataset(store_of_others, ignore_prefixes=leave_out).to_table().equals(expected)
    frame = pandas.read_parquet(store_of_others, ignore_prefixes=leave_out)
    pandas.testing.assert_frame_equal(frame, expected.to_pandas())


def test_a_store_that_is_open_becomes_a_frame_of_pandas(store_of_others: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = camtool.store.open(store_of_others).table().to_pandas()
    pandas.testing.assert_frame_equal(frame, pandas.read_parquet(sorted(store_of_others.glob("*.parquet"))))


def test_polars_reads_a_store_alone(store_of_others: Path) -> None:
    polars = pytest.importorskip("polars")
    frame = polars.read_parquet(f"{store_of_others}/*.parquet")
    assert frame["id"].to_list() == list(range(20))
    assert frame["label"].null_count() == 2


# size


def test_fifty_thousand_maps_stay_under_thirty_megabytes(tmp_path: Path) -> None:
    """A tenth of them, in shards of the size that 50,000 have."""
    folder = make_store(tmp_path / "store", 5_000, 128, rows=lambda samples: random_rows(samples, size=(7, 7)))
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert 10 * size < 30e6
