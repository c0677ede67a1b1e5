"""Several processes: how each is told which it is, and how they talk where there is no GPU."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import distributed

from camtool.errors import CamtoolError, closest

LAUNCHERS = ("none", "pytorch", "slurm", "mpi")
_ENVIRONMENT = {
    "pytorch": {name: name for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")},
    "slurm": {"RANK": "SLURM_PROCID", "WORLD_SIZE": "SLURM_NTASKS", "LOCAL_RANK": "SLURM_LOCALID"},
    "mpi": {"RANK": "OMPI_COMM_WORLD_RANK", "WORLD_SIZE": "OMPI_COMM_WORLD_SIZE", "LOCAL_RANK": "OMPI_COMM_WORLD_LOCAL_RANK"},
}
"""What torch reads, and what the launcher sets."""

_IS_GONE = re.compile(r"gloo.*(closed by peer|reset by peer|Broken pipe)", re.IGNORECASE | re.DOTALL)


def check_launcher(launcher: str) -> None:
    """Raise CamtoolError for a launcher that does not exist, or that has not started this process."""
    if launcher not in LAUNCHERS:
        raise CamtoolError(f"Unknown launcher '{launcher}'{closest(launcher, LAUNCHERS)}; expected {', '.join(LAUNCHERS)}.")
    missing = [name for name in _ENVIRONMENT.get(launcher, {}).values() if name not in os.environ]
    if missing:
        how = {"pytorch": "torchrun --nproc-per-node=2 tools/train.py …", "slurm": "srun python tools/train.py …"}
        raise CamtoolError(
            f"--launcher {launcher}: this process was not started by it, {missing[0]} is not set; "
            f"expected: {how.get(launcher, 'mpirun python tools/train.py …')} --launcher {launcher}."
        )


def _join(launcher: str) -> None:
    # With CUDA that is mmengine's: here without, where mmengine would still ask for a GPU.
    if launcher == "none":
        return
    for name, source in _ENVIRONMENT[launcher].items():
        os.environ[name] = os.environ[source]
    if torch.cuda.is_available():
        return
    os.environ.setdefault("MASTER_PORT", "29500")
    if "MASTER_ADDR" not in os.environ:
        raise CamtoolError(f"--launcher {launcher} without GPUs: MASTER_ADDR is not set; expected the first machine's address.")
    distributed.init_process_group(backend="gloo")


@contextmanager
def joined(launcher: str) -> Iterator[None]:
    """Join the other processes, and part from them at the end.

    Raises:
        CamtoolError: if another process has ended meanwhile; that one says why.
    """
    _join(launcher)
    try:
        yield
    except RuntimeError as error:
        if launcher == "none" or not _IS_GONE.search(str(error)):
            raise
        raise CamtoolError("Another process of this training has ended; its own error says why.") from error
    finally:
        if launcher != "none" and distributed.is_initialized():
            distributed.destroy_process_group()
