"""Conditions of SQL choose rows, and cannot do anything else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import camtool.store
from camtool.errors import DataError
from camtool.store.query import matching
from tests.store.made import failed, make_store, random_rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 40 samples in 5 shards; the map of sample 0 is missing."""
    return make_store(
        tmp_path_factory.mktemp("made") / "store",
        40,
        8,
        rows=lambda samples: [failed(0), *random_rows(samples[1:])] if 0 in samples else random_rows(samples),
    )


@pytest.fixture
def store(folder: Path) -> camtool.store.Store:
    return camtool.store.open(folder)


CONDITIONS = {
    "label != predicted and probability > 0.9": lambda row: (
        None not in (row["label"], row["predicted"]) and row["label"] != row["predicted"] and row["probability"] > 0.9
    ),
    "not (label = predicted)": lambda row: None not in (row["label"], row["predicted"]) and row["label"] != row["predicted"],
    "label is null": lambda row: row["label"] is None,
    "LABEL IN (1, 2) OR predicted NOT BETWEEN 0 AND 1": lambda row: (
        row["label"] in (1, 2) or (row["predicted"] is not None and not 0 <= row["predicted"] <= 1)
    ),
    "path like 'dog/%' -- those of one folder": lambda row: row["path"].startswith("dog/"),
    "path ilike 'DOG/%' and path not like '%1.png'": lambda row: row["path"].startswith("dog/") and not row["path"].endswith("1.png"),
    "contains(path, '0001') and id % 2 = 0": lambda row: "0001" in row["path"] and row["id"] % 2 == 0,
    "status <> 'ok'": lambda row: row["status"] != "ok",
    "max > 2.0 and min < -2 and abs(sum) < 3": lambda row: (
        row["max"] is not None and row["max"] > 2 and row["min"] < -2 and abs(row["sum"]) < 3
    ),
    "case when label is null then true else probability < 0.4 end": lambda row: (
        row["label"] is None or (row["probability"] is not None and row["probability"] < 0.4)
    ),
    "coalesce(label, -1) = -1": lambda row: row["label"] is None,
    "id::varchar = '7'": lambda row: row["id"] == 7,
    "true": lambda row: True,  # noqa: ARG005
    "null": lambda row: False,  # noqa: ARG005
}


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_condition_chooses_the_rows_for_which_it_is_true(store: camtool.store.Store, condition: str) -> None:
    expected = [row["id"] for row in store if CONDITIONS[condition](row)]
    found = list(matching(store, condition))
    assert [row["id"] for row in found] == expected
    for row in found:
        assert (row.map is None) == (row["status"] != "ok")
    assert expected or condition in ("null", "label is null")


def test_the_map_of_a_row_is_its_own(store: camtool.store.Store) -> None:
    (row,) = matching(store, "id = 21")
    (same,) = store.where(id=21)
    assert row.map is not None
    assert same.map is not None
    assert row.map.equal(same.map)


def test_a_filter_of_the_store_holds_too(store: camtool.store.Store) -> None:
    assert {row["predicted"] for row in matching(store.where(predicted=1), "probability > 0")} == {1}


ATTACKS = [
    "id in (select id from read_parquet('{file}'))",
    "exists (select * from read_csv('/etc/passwd'))",
    "exists (from '/etc/passwd')",
    "exists (from store_rows)",
    "(select count(*) from duckdb_settings()) > 0",
    "path = (select content from read_text('/etc/passwd'))",
    "read_text('/etc/passwd') = path",
    "getenv('HOME') = path",
    "current_setting('memory_limit') = path",
    "true; attach '{file}.db'",
    "true; copy (select 1) to '{file}'",
    "true; pragma database_list",
    "true; install httpfs",
    "true; set enable_external_access = true",
    "true) union select _row from store_rows where (true",
    "true) order by (id",
    "true) limit (1",
    "true) group by (id",
    "true) qualify (row_number() over () = 1",
    "true), (select 1",
    "row_number() over () = 1",
    "count(*) > 1",
    "label = ?",
    "label = $1",
    "columns('.*') = 1",
    "*",
    "[x for x in [1]] = [1]",
    "list_transform([1], x -> x) = [1]",
    "main.getenv('HOME') = path",
    "system.main.\"getenv\"('HOME') = path",
    "GetEnv('HOME') = path",
    "query('select 1') = 1",
    "repeat(path, 1000000000) = path",
    "store = 1",
    "_row = 1",
    "{{'a': getenv('HOME')}}.a = path",
    "case when getenv('HOME') = path then true end",
    "label in (getenv('HOME')::int)",
    "probability between 0 and getenv('HOME')::double",
    "path like getenv('HOME')",
    "cast(getenv('HOME') as varchar) = path",
    "now() > '2020-01-01'",
    "random() > 0.5",
    "path = version()",
    "nextval('s') > 0",
    "",
    "   ",
    "--",
    ")",
    "select",
    "label = ",
    "label == == predicted",
    "labl != predicted",
    "label",
    "1 + 1",
    "path",
    "path > label and id / 0 = probability and path::int = 3",
    "true\x00",
    "true\n; drop table store_rows",
    "(" * 1900 + "true" + ")" * 1900,
    "__import__('os').getcwd() = path",
    "true or " * 600 + "x",
]


@pytest.mark.parametrize("number", range(len(ATTACKS)), ids=lambda number: ATTACKS[number][:40])
def test_what_is_more_than_a_condition_is_refused_in_one_line(folder: Path, store: camtool.store.Store, number: int) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in folder.rglob("*")}
    with pytest.raises(DataError) as refused:
        list(matching(store, ATTACKS[number].format(file=folder / "maps-000000.parquet")))
    assert len(str(refused.value).splitlines()) == 1
    assert "root:" not in str(refused.value)
    assert {path.name: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


@pytest.mark.parametrize(
    "behind", ["union select _row from store_rows where (true", "order by (id", "limit (1", "group by (id", "qualify (id > 1"]
)
def test_what_stands_behind_a_condition_is_said(store: camtool.store.Store, behind: str) -> None:
    with pytest.raises(DataError, match="has something behind the condition"):
        list(matching(store, f"true) {behind}"))


def test_the_database_itself_reads_no_file_and_no_variable(folder: Path) -> None:
    """If a condition got past the check, there would be nothing to find."""
    import duckdb

    from camtool.store.query import _connection

    connection = _connection()
    variable_of_python = duckdb.sql("select 1").to_arrow_table()
    assert variable_of_python.num_rows == 1
    for attempt in (
        "from read_csv('/etc/passwd')",
        f"from '{folder}/maps-000000.parquet'",
        "from read_text('/etc/passwd')",
        "from glob('/*')",
        f"copy (select 1) to '{folder}/x.csv'",
        f"attach '{folder}/x.db'",
        "install httpfs",
        "load httpfs",
        "set enable_external_access = true",
        "set lock_configuration = false",
        "from variable_of_python",
    ):
        with pytest.raises(duckdb.Error):
            connection.execute(attempt)
    assert not list(folder.glob("x.*"))
    connection.close()


def test_a_column_that_does_not_exist_is_named_with_the_nearest(store: camtool.store.Store) -> None:
    with pytest.raises(DataError, match="no column 'labl'; closest: 'label'"):
        list(matching(store, "labl != predicted"))


def test_without_duckdb_the_extra_is_named(store: camtool.store.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(DataError, match=r"pip install 'camtool\[query\]'"):
        list(matching(store, "true"))


def test_a_store_is_opened_without_duckdb_and_without_pyarrow() -> None:
    program = "import sys, camtool.store, camtool.store.query; assert not {'duckdb', 'pyarrow', 'h5py'} & sys.modules.keys()"
    root = Path(camtool.store.__file__).parents[2]
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, "PYTHONPATH": str(root)})
