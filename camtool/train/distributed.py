"""Distributed training: the launchers' environment variables, and process groups with and without GPUs."""

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import distributed

from camtool.errors import CamtoolError, closest

LAUNCHERS = ("none", "pytorch", "slurm", "mpi")
ENVIRONMENT = {
    "pytorch": {name: name for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")},
    "slurm": {"RANK": "SLURM_PROCID", "WORLD_SIZE": "SLURM_NTASKS", "LOCAL_RANK": "SLURM_LOCALID"},
    "mpi": {"RANK": "OMPI_COMM_WORLD_RANK", "WORLD_SIZE": "OMPI_COMM_WORLD_SIZE", "LOCAL_RANK": "OMPI_COMM_WORLD_LOCAL_RANK"},
}
"""For each launcher: variable that torch reads, and variable that the launcher sets."""

left = threading.Event()
"""Set once this process has left a process group."""

_CONNECTION_LOST = re.compile(r"gloo.*(closed by peer|reset by peer|Broken pipe)", re.IGNORECASE | re.DOTALL)


def check_launcher(launcher: str, script: str = "tools/train.py") -> None:
    """Raise CamtoolError if the launcher is unknown, or has not started this process.

    Args:
        script: of the command that the message shows.
    """
    if launcher not in LAUNCHERS:
        raise CamtoolError(f"Unknown launcher '{launcher}'{closest(launcher, LAUNCHERS)}; expected {', '.join(LAUNCHERS)}.")
    missing = [name for name in ENVIRONMENT.get(launcher, {}).values() if name not in os.environ]
    if missing:
        commands = {"pytorch": f"torchrun --nproc-per-node=2 {script} …", "slurm": f"srun python {script} …"}
        raise CamtoolError(
            f"--launcher {launcher}: this process was not started by that launcher, {missing[0]} is not set. "
            f"Expected: {commands.get(launcher, f'mpirun python {script} …')} --launcher {launcher}."
        )


def _join(launcher: str) -> None:
    # With CUDA mmengine initialises the process group; without, it would still require a GPU.
    if launcher == "none":
        return
    for name, launcher_name in ENVIRONMENT[launcher].items():
        os.environ[name] = os.environ[launcher_name]
    if torch.cuda.is_available():
        return
    os.environ.setdefault("MASTER_PORT", "29500")
    if "MASTER_ADDR" not in os.environ:
        raise CamtoolError(f"--launcher {launcher} without GPUs: MASTER_ADDR is not set. Set it to the address of the first machine.")
    distributed.init_process_group(backend="gloo")


@contextmanager
def joined(launcher: str) -> Iterator[None]:
    """Context in which this process belongs to the process group of the launcher.

    Raises:
        CamtoolError: if another process ended meanwhile, or the launcher's variables are missing.
    """
    _join(launcher)
    try:
        yield
        if launcher != "none" and distributed.is_initialized():
            distributed.barrier()  # a process that leaves while another one still needs it may be aborted by the C++ runtime
    except RuntimeError as error:
        if launcher == "none" or not _CONNECTION_LOST.search(str(error)):
            raise
        raise CamtoolError("Another process of this training ended; see its error message for the reason.") from error
    finally:
        if launcher != "none" and distributed.is_initialized():
            distributed.destroy_process_group()
            left.set()
