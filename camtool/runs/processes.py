"""The place of this process among those that a launcher has started, from the environment; no process group."""

import os
from dataclasses import dataclass

from camtool.errors import CamtoolError
from camtool.train.distributed import ENVIRONMENT, check_launcher


@dataclass(frozen=True)
class Place:
    """Number of this process, of how many, and its number on this machine."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0


def place_of(launcher: str) -> Place:
    """Return the place of this process among those of the launcher: "none", "pytorch", "slurm" or "mpi".

    Raises:
        CamtoolError: if the launcher is unknown, has not started this process, or its variables are no numbers.

    Example:
        >>> place_of("none")
        Place(rank=0, world_size=1, local_rank=0)
    """
    check_launcher(launcher, "tools/run_cam.py")
    if launcher == "none":
        return Place()
    names = ENVIRONMENT[launcher]
    texts = {name: os.environ[names[name]] for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    if not all(text.isdecimal() for text in texts.values()) or int(texts["RANK"]) >= int(texts["WORLD_SIZE"]):
        raise CamtoolError(
            f"--launcher {launcher}: expected numbers of processes in the environment, got "
            f"{', '.join(f'{names[name]}={text!r}' for name, text in texts.items())}."
        )
    return Place(*(int(text) for text in texts.values()))
