"""Kill runs at random moments, and compare what they leave with an undisturbed run: `python -m tests.runs.killed [KILLS] [SEED]`."""

import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path

import pyarrow as pa

import camtool.store
from camtool.errors import CamtoolError
from camtool.runs import run
from tests.runs import tiny

SAMPLES = 400  # seven shards
SECONDS = 1.5  # longer than an undisturbed run takes, so that some kills come after its end


def started(folder: Path, data: Path, out: Path, workers: int, rank: int, world_size: int) -> int:
    """Return the number of a new process, which makes its part of the run; it leads a group of its own."""
    process = os.fork()
    if process:
        return process
    os.setpgid(0, 0)
    code = 1
    try:
        warnings.simplefilter("ignore")
        run(tiny.explainer(folder), data, out, workers=workers, threads=1, rank=rank, world_size=world_size)
        code = 0
    except CamtoolError as error:  # a worker was killed
        print(error, file=sys.stderr, flush=True)
        code = 2
    finally:
        os._exit(code)


def workers_of(process: int) -> list[int]:
    """Return the numbers of a process's children."""
    try:
        return [int(number) for number in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []


def disturbed(folder: Path, data: Path, out: Path, generator: random.Random) -> str:
    """Start a run of one or two processes, kill one of them or a worker at a random moment, and then the rest; return what was killed."""
    world_size, workers = generator.choice([1, 2]), generator.choice([0, 1])
    processes = [started(folder, data, out, workers, rank, world_size) for rank in range(world_size)]
    time.sleep(generator.uniform(0.02, SECONDS))
    victim = generator.choice(processes)
    children = workers_of(victim) if generator.random() < 0.5 else []
    target = generator.choice(children) if children else victim
    try:
        os.kill(target, signal.SIGKILL)
    except ProcessLookupError:  # it had ended
        target = 0
    if not children or generator.random() < 0.5:
        time.sleep(generator.uniform(0, 0.3))
        for process in processes:
            for number in [*workers_of(process), process]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)
    for process in processes:
        os.waitpid(process, 0)
    return "nothing" if not target else "worker" if children else "process"


def whole(out: Path) -> pa.Table:
    """Return all rows of a store."""
    return camtool.store.open(out).table()


def trial(folder: Path, kills: int, seed: int) -> dict[str, int]:
    """Kill runs so many times, a new store whenever one is complete; return the numbers of what was killed, and of stores.

    Raises:
        AssertionError: if a store differs from that of an undisturbed run.
    """
    generator = random.Random(seed)
    data = tiny.pictures(folder / "pictures", SAMPLES)
    (data / "first" / "00000.png").write_bytes(b"no picture")
    run(tiny.explainer(folder), data, folder / "undisturbed", threads=1)
    expected = whole(folder / "undisturbed")
    counts = {"process": 0, "worker": 0, "nothing": 0, "stores": 0}
    out, in_store = folder / "out", 0
    for number in range(kills):
        counts[disturbed(folder, data, out, generator)] += 1
        in_store += 1
        if in_store < 6 and number < kills - 1:
            continue
        report = run(tiny.explainer(folder), data, out, threads=1, workers=generator.choice([0, 1]))
        assert report.missing == 0
        found = whole(out)
        assert found.equals(expected), f"after {number + 1} kills of seed {seed}"
        undisturbed = sorted((folder / "undisturbed").glob("*.parquet"))
        assert sorted(path.name for path in out.glob("*.parquet")) == [path.name for path in undisturbed]
        assert all(path.read_bytes() == (out / path.name).read_bytes() for path in undisturbed)
        counts["stores"] += 1
        shutil.rmtree(out)
        in_store = 0
    return counts


def main() -> None:
    """Kill runs as often as the command line says."""
    kills, seed = map(int, [*sys.argv[1:], *["300", "0"][len(sys.argv) - 1 :]])
    with tempfile.TemporaryDirectory() as folder:
        started_at = time.monotonic()
        counts = trial(Path(folder), kills, seed)
    print(f"{kills} kills in {time.monotonic() - started_at:.0f} s: {counts}; every store equal to the undisturbed one, byte for byte.")


if __name__ == "__main__":
    main()
