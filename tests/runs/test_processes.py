"""Several processes, each with shards of its own, make one store."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import camtool.store
from camtool.errors import CamtoolError
from camtool.runs import run as explain
from camtool.runs.processes import Place, place_of
from camtool.store.layout import check_folder, shard_numbers
from camtool.train.distributed import ENVIRONMENT
from tests.cli.fixtures import ROOT, Run
from tests.runs import tiny

SAMPLES = 150  # three shards: processes have unequal parts


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a config, pictures and a picture that is none."""
    folder = tmp_path_factory.mktemp("processes")
    tiny.pictures(folder / "pictures", SAMPLES)
    (folder / "pictures/second/00004.png").write_bytes(b"no picture")
    tiny.config(folder)
    return folder


@pytest.fixture(scope="module")
def alone(folder: Path) -> Path:
    """The store of one process with one thread."""
    explain(tiny.explainer(folder), folder / "pictures", folder / "alone", threads=1)
    return folder / "alone"


@pytest.fixture
def two_threads() -> Iterator[None]:
    """The machine's number of threads, as a run meets it."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def placed(monkeypatch: pytest.MonkeyPatch, launcher: str, rank: object, world_size: object, local_rank: object) -> None:
    """Set the variables of a launcher."""
    values = {"RANK": rank, "WORLD_SIZE": world_size, "LOCAL_RANK": local_rank}
    for name, variable in ENVIRONMENT[launcher].items():
        monkeypatch.setenv(variable, str(values[name]))


def arguments(folder: Path, out: Path) -> tuple[object, ...]:
    """Return the arguments of `camtool run`, as of `tiny.explainer`."""
    return (folder / "tiny.py", "--data", folder / "pictures", "--out", out, "--method", "gradcam", "layercam")


def assert_same_store(out: Path, expected: Path) -> None:
    """Check that two stores have the same shards, byte for byte, and describe the same run."""
    assert shard_numbers(out) == shard_numbers(expected)
    assert camtool.store.open(out).is_complete
    assert camtool.store.open(out).table().equals(camtool.store.open(expected).table())
    for path in expected.glob("*.parquet"):
        assert (out / path.name).read_bytes() == path.read_bytes(), path.name
    described, of_expected = (json.loads((store / "run.json").read_text()) for store in (out, expected))
    assert {**described, "command": None} == {**of_expected, "command": None}


@pytest.mark.slow
def test_two_processes_under_torchrun_make_the_store_of_one(folder: Path, alone: Path, tmp_path: Path) -> None:
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    script = (ROOT / "tools/run_cam.py", *arguments(folder, tmp_path / "two"), "--launcher", "pytorch", "--workers", "0", "--json")

    finished = subprocess.run(
        list(map(str, [*torchrun, *script])),
        check=False,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )

    assert finished.returncode == 0, finished.stderr
    made = sorted(json.loads(line)["made"] for line in finished.stdout.splitlines())
    assert made == [64, SAMPLES - 64], "each made its own shards, and only those"
    assert_same_store(tmp_path / "two", alone)


def test_one_process_of_two_leaves_the_shards_of_the_other_out_and_says_so(
    folder: Path, alone: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "maps"
    command = ("run", *arguments(folder, out), "--workers", "0", "--launcher", "pytorch")
    placed(monkeypatch, "pytorch", 1, 2, 1)

    second = run(*command)

    assert second.exit_code == 0, second.stderr
    assert shard_numbers(out) == [1]
    assert f"{SAMPLES - 64} samples are in shards that are not there: those of other processes." in second.stderr
    assert f"64 of {SAMPLES} samples (64 made now" in second.stdout
    assert not camtool.store.open(out).is_complete

    placed(monkeypatch, "pytorch", 0, 2, 0)
    first = run(*command, "--json")

    assert first.report["made"] == SAMPLES - 64
    assert first.report["missing"] == 0
    assert first.report["failures"] == {"unreadable": 1}
    assert_same_store(out, alone)


@pytest.mark.parametrize(("before", "after"), [((1, 3), [(0, 1)]), ((0, 1), [(0, 2), (1, 2)]), ((0, 2), [(2, 3), (1, 3), (0, 3)])])
def test_a_run_goes_on_with_another_number_of_processes(
    folder: Path, alone: Path, tmp_path: Path, before: tuple[int, int], after: list[tuple[int, int]]
) -> None:
    def part(rank: int, world_size: int) -> int:
        explainer = tiny.explainer(folder)
        return explain(explainer, folder / "pictures", tmp_path / "maps", threads=1, rank=rank, world_size=world_size).made

    made = part(*before)
    if before == (0, 1):
        (tmp_path / "maps/maps-000001.parquet").unlink()
        made -= 64

    assert made + sum(part(*place) for place in after) == SAMPLES, "nothing is made twice"
    assert_same_store(tmp_path / "maps", alone)


@pytest.mark.usefixtures("two_threads")
def test_threads_are_one_where_there_are_several_processes_and_stay_what_they_were(folder: Path, alone: Path, tmp_path: Path) -> None:
    explainer, out = tiny.explainer(folder), tmp_path / "maps"
    explain(explainer, folder / "pictures", out, rank=0, world_size=2)

    explain(explainer, folder / "pictures", out)

    assert_same_store(out, alone)  # and its number of threads, which is in run.json
    assert torch.get_num_threads() == 2
    explain(explainer, folder / "pictures", tmp_path / "more", limit=1)
    assert camtool.store.open(tmp_path / "more").run["fingerprint"]["threads"] == 2
    with pytest.raises(CamtoolError, match="changed: threads: 2 instead of 1"):
        explain(explainer, folder / "pictures", out, threads=2)


@pytest.mark.parametrize("launcher", list(ENVIRONMENT))
def test_the_place_is_read_from_the_launchers_variables(monkeypatch: pytest.MonkeyPatch, launcher: str) -> None:
    for other in ENVIRONMENT:
        placed(monkeypatch, other, 0, 1, 0)
    placed(monkeypatch, launcher, 5, 8, 1)

    assert place_of(launcher) == Place(5, 8, 1)
    assert place_of("none") == Place(0, 1, 0)


def test_the_variables_have_the_names_that_slurm_and_open_mpi_give_them(monkeypatch: pytest.MonkeyPatch) -> None:
    slurm = {"SLURM_PROCID": "3", "SLURM_NTASKS": "4", "SLURM_LOCALID": "1"}
    mpi = {"OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_SIZE": "6", "OMPI_COMM_WORLD_LOCAL_RANK": "0"}
    for name, value in {**slurm, **mpi}.items():
        monkeypatch.setenv(name, value)

    assert place_of("slurm") == Place(3, 4, 1)
    assert place_of("mpi") == Place(2, 6, 0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="the error names the GPU that each process would take")
def test_each_process_takes_the_gpu_of_its_number_on_its_machine(
    folder: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed(monkeypatch, "slurm", 5, 8, 1)

    finished = run("run", *arguments(folder, tmp_path / "maps"), "--launcher", "slurm", "--device", "cuda")

    assert finished.exit_code == 2
    assert "cuda:1" in finished.stderr


@pytest.mark.parametrize("launcher", list(ENVIRONMENT))
@pytest.mark.parametrize(
    "values",
    [("two", 2, 0), (0, "", 0), (0, 2, "0.5"), (-1, 2, 0), (2, 2, 0), (0, 0, 0)],
    ids=["word", "empty", "fraction", "minus", "large", "none"],
)
def test_variables_that_make_no_place_are_told_in_one_line(
    folder: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, launcher: str, values: tuple[object, object, object]
) -> None:
    placed(monkeypatch, launcher, *values)

    finished = run("run", *arguments(folder, tmp_path / "maps"), "--launcher", launcher)

    assert finished.exit_code == 2
    (line,) = finished.stderr.splitlines()
    rank, world_size = ENVIRONMENT[launcher]["RANK"], ENVIRONMENT[launcher]["WORLD_SIZE"]
    assert line.startswith(f"Error: --launcher {launcher}: expected ")
    assert f"{rank}='{values[0]}'" in line
    assert f"{world_size}='{values[1]}'" in line
    assert not (tmp_path / "maps").exists()


def test_a_launcher_that_did_not_start_this_process_is_told_in_one_line(
    folder: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLURM_PROCID", raising=False)

    finished = run("run", *arguments(folder, tmp_path / "maps"), "--launcher", "slurm")

    assert finished.exit_code == 2
    (line,) = finished.stderr.splitlines()
    assert "SLURM_PROCID is not set. Expected: srun python tools/run_cam.py … --launcher slurm" in line


def test_a_store_that_another_process_begins_meanwhile_is_no_foreign_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = os.listdir

    def begun_meanwhile(folder: Path) -> list[str]:
        (tmp_path / "run.json").write_text("{}")
        return listed(folder)

    monkeypatch.setattr("camtool.store.layout.os.listdir", begun_meanwhile)

    check_folder(tmp_path)


def test_a_process_imports_no_library_that_only_others_need(tmp_path: Path) -> None:
    heavy = {"torchvision", "matplotlib", "pandas", "timm", "mmpretrain", "transformers", "sympy"}
    program = f"import sys\nimport camtool.apis, camtool.runs, camtool.store\nprint(sorted({heavy} & sys.modules.keys()))"

    finished = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )

    assert finished.stdout == "[]\n"
