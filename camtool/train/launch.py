"""Several processes: how each is told which it is, and how they talk where there is no GPU."""

import os

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


def join(launcher: str) -> None:
    """Join the other processes. With CUDA that is mmengine's: here without, where mmengine would still ask for a GPU."""
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


def leave(launcher: str) -> None:
    """Part from the other processes, if they were joined."""
    if launcher != "none" and distributed.is_initialized():
        distributed.destroy_process_group()
