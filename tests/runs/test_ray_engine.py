"""Actors of a local Ray cluster make the store that one process makes, whatever is killed meanwhile."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import camtool.store
from camtool.errors import CamtoolError, CamtoolWarning
from camtool.runs import RayEngine
from camtool.runs import run as explain
from camtool.runs.ray_engine import actors_that_fit
from camtool.store.layout import shard_numbers
from tests.cli.fixtures import ROOT, Run
from tests.runs import tiny
from tests.runs.deadly import Deadly
from tests.runs.test_processes import arguments, assert_same_store

SAMPLES = 320  # five shards

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="the extra `ray` is not installed")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A local cluster of three CPUs: two actors, and one to spare. Its processes find this clone."""
    ray = pytest.importorskip("ray")
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(ROOT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        context = ray.init("local", num_cpus=3, include_dashboard=False, log_to_driver=False, object_store_memory=100 * 2**20)
    yield context
    ray.shutdown()
    os.environ.pop("PYTHONPATH")
    os.environ |= {} if before is None else {"PYTHONPATH": before}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a config, pictures and a picture that is none."""
    folder = tmp_path_factory.mktemp("ray")
    tiny.pictures(folder / "pictures", SAMPLES)
    (folder / "pictures/second/00004.png").write_bytes(b"no picture")
    tiny.config(folder)
    return folder


@pytest.fixture(scope="module")
def alone(folder: Path) -> Path:
    """The store of one process with one thread."""
    explain(tiny.explainer(folder), folder / "pictures", folder / "alone", threads=1)
    return folder / "alone"


@needs_ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Ray's own code
def test_ray_reads_a_store_as_it_is(cluster: Any, alone: Path) -> None:
    """The folder, with `run.json` and `_manifest` in it; rows of several files come in no order."""
    import ray.data

    rows = ray.data.read_parquet(str(alone)).take_all()

    expected = camtool.store.open(alone).table().to_pylist()
    assert sorted(rows, key=_place) == sorted(expected, key=_place)


def _place(row: dict[str, Any]) -> tuple[int, str]:
    return row["id"], row["method"]


@needs_ray
@pytest.mark.slow
def test_actors_make_the_store_of_one_process(
    cluster: Any, folder: Path, alone: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.get_num_threads", lambda: 2)  # which one process would take; an actor takes one
    command = ("run", *arguments(folder, tmp_path / "maps"), "--engine", "ray", "--json")

    report = run(*command).report

    assert (report["made"], report["missing"], report["failures"]) == (SAMPLES, 0, {"unreadable": 1})
    assert_same_store(tmp_path / "maps", alone)
    import ray

    assert ray.is_initialized(), "the cluster was there before"
    assert run(*command).report["made"] == 0


@needs_ray
@pytest.mark.slow
def test_the_shard_of_an_actor_that_is_killed_is_made_again(cluster: Any, folder: Path, tmp_path: Path) -> None:
    data = Deadly(170, tmp_path / "deaths")

    with RayEngine(actors=1) as engine, pytest.warns(CamtoolWarning, match="The process that made shard 1 ended; the shard is made again"):
        report = explain(tiny.explainer(folder), data, tmp_path / "maps", engine=engine)

    assert data.counted() == 1
    assert (report.made, report.missing, report.failures) == (170, 0, {})
    explain(tiny.explainer(folder), data, tmp_path / "alone", threads=1)
    assert_same_store(tmp_path / "maps", tmp_path / "alone")


@needs_ray
@pytest.mark.slow
def test_a_sample_that_ends_every_process_is_named_by_its_shard(
    cluster: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("camtool.runs.ray_engine.TRIES", 2)
    data = Deadly(170, tmp_path / "deaths", most=9)

    with (
        RayEngine(actors=1) as engine,
        pytest.warns(CamtoolWarning, match="shard 1"),
        pytest.raises(CamtoolError, match="Shard 1 ended its process 2 times"),
    ):
        explain(tiny.explainer(folder), data, tmp_path / "maps", engine=engine)

    assert shard_numbers(tmp_path / "maps") == [0]


@needs_ray
@pytest.mark.slow
def test_a_run_whose_driver_is_killed_goes_on(cluster: Any, folder: Path, alone: Path, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "maps"
    command = ["run", *map(str, arguments(folder, out)), "--engine", "ray", "--address", cluster.address_info["address"]]
    driver = subprocess.Popen([sys.executable, "-m", "camtool", *command], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(out.glob("*.parquet")):
        assert driver.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    assert len(shard_numbers(out)) < 5, "it was killed in the middle"

    report = run(*command, "--json").report

    assert 0 < report["made"] < SAMPLES
    assert_same_store(out, alone)


@needs_ray
@pytest.mark.slow
def test_too_many_failures_in_an_actor_end_the_run(cluster: Any, folder: Path, tmp_path: Path) -> None:
    names = [str(path) for path in sorted((folder / "pictures/first").glob("*.png"))[:70]]
    (tmp_path / "list.txt").write_text("\n".join([*names, *(f"missing{number}.png" for number in range(5))]))

    with (
        RayEngine(actors=1) as engine,
        pytest.warns(CamtoolWarning, match="5 of 75 files"),
        pytest.raises(CamtoolError, match="5 samples could not be explained, more than --max-failures 4"),
    ):
        explain(tiny.explainer(folder), tmp_path / "list.txt", tmp_path / "maps", max_failures=4, engine=engine)


@needs_ray
@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (("--actors", "3"), "at most 2 actors of 1 CPU on 3 CPUs"),
        (("--threads", "3"), "a cluster with room for an actor of 3 CPUs and one more CPU"),
        (("--workers", "2"), "a cluster with room for an actor of 3 CPUs and one more CPU"),
    ],
)
def test_actors_that_would_take_every_cpu_are_refused(
    cluster: Any, folder: Path, tmp_path: Path, run: Run, asked: tuple[str, str], expected: str
) -> None:
    finished = run("run", *arguments(folder, tmp_path / "maps"), "--engine", "ray", *asked)

    assert finished.exit_code == 2
    (line,) = finished.stderr.splitlines()
    assert line.startswith(f"Error: Expected {expected}")
    assert "left to Ray, since it hangs without a word otherwise; got 3" in line
    assert not (tmp_path / "maps").exists()


@needs_ray
@pytest.mark.slow
def test_a_cluster_whose_cpus_are_taken_by_others_is_refused(
    cluster: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    monkeypatch.setattr("camtool.runs.ray_engine.PATIENCE", 1.0)
    taken = ray.util.placement_group([{"CPU": 2}])
    ray.get(taken.ready(), timeout=30)
    try:
        with RayEngine() as engine, pytest.raises(CamtoolError, match=r"Expected 2 free CPUs, for an actor and for Ray, got [01] of 3"):
            explain(tiny.explainer(folder), folder / "pictures", tmp_path / "maps", engine=engine)
        assert not (tmp_path / "maps").exists()
    finally:
        ray.util.remove_placement_group(taken)


def test_actors_leave_a_cpu_and_fit_on_single_machines() -> None:
    assert actors_that_fit([{"CPU": 2.0}], {"CPU": 1, "GPU": 0}) == 1
    assert actors_that_fit([{"CPU": 1.0}], {"CPU": 1, "GPU": 0}) == 0
    assert actors_that_fit([{"CPU": 3.0}, {"CPU": 3.0}], {"CPU": 2, "GPU": 0}) == 2, "not three: each would need two CPUs of one machine"
    assert actors_that_fit([{"CPU": 16.0}, {"CPU": 8.0, "GPU": 2.0}], {"CPU": 1, "GPU": 1}) == 2
    assert actors_that_fit([], {"CPU": 1, "GPU": 0}) == 0


def test_ray_that_is_not_installed_is_told_with_its_extra(folder: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)

    finished = run("run", *arguments(folder, tmp_path / "maps"), "--engine", "ray")

    assert finished.exit_code == 2
    assert finished.stderr == "Error: --engine ray needs the package ray, which is not installed: 'pip install \"camtool[ray]\"'.\n"


@needs_ray
@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1:many", "nobody.invalid:6379", "127.0.0.1:99999"])
def test_an_address_without_a_cluster_is_told_at_once(folder: Path, tmp_path: Path, run: Run, address: str) -> None:
    finished = run("run", *arguments(folder, tmp_path / "maps"), "--engine", "ray", "--address", address)

    assert finished.exit_code == 2
    (line,) = finished.stderr.splitlines()
    assert line.startswith(f"Error: No Ray cluster at '{address}': ")
    assert not (tmp_path / "maps").exists()


def test_an_engine_outside_of_its_block_is_told(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CamtoolError, match="Expected 'with engine:"):
        explain(tiny.explainer(folder), folder / "pictures", tmp_path / "maps", engine=RayEngine())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--engine", "rya"), "Unknown engine 'rya'; closest: 'ray'; expected none, ray."),
        (("--address", "auto"), "--address and --actors are of a Ray cluster; expected --engine ray with them."),
        (("--actors", "2"), "--address and --actors are of a Ray cluster; expected --engine ray with them."),
        (
            ("--engine", "ray", "--device", "cuda:1"),
            "Expected the device cpu or cuda for Ray's actors, which are given a GPU each, got 'cuda:1'.",
        ),
    ],
)
def test_options_that_do_not_go_together(folder: Path, tmp_path: Path, run: Run, options: tuple[str, ...], message: str) -> None:
    finished = run("run", *arguments(folder, tmp_path / "maps"), *options)

    assert finished.exit_code == 2
    assert finished.stderr == f"Error: {message}\n"


def test_an_engine_and_a_launcher_exclude_each_other(folder: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)

    finished = run("run", *arguments(folder, tmp_path / "maps"), "--engine", "ray", "--launcher", "pytorch")

    assert finished.exit_code == 2
    assert finished.stderr == "Error: Expected one of --engine ray and --launcher pytorch, got both: Ray starts processes itself.\n"
