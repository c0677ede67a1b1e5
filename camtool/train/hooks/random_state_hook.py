"""Hook that keeps the random state in checkpoints, so that a resumed training equals an uninterrupted one."""

import random
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather_object, get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner

from camtool.registry import HOOKS

KEY = "random_state"


@HOOKS.register_module(name=["RandomStateHook", "RandomState"])  # the second name: older configs
class RandomStateHook(Hook):  # type: ignore[misc]  # mmengine has no types
    """Hook that saves the states of all random generators of all processes in checkpoints and restores them on resuming."""

    priority = "LOWEST"  # restore after all hooks that draw random numbers

    def __init__(self) -> None:
        self._gathered: list[dict[str, Any]] = []
        self._loaded: list[dict[str, Any]] = []

    def before_gather_checkpoint(self, runner: Runner) -> None:
        """Gather the states of all processes; called on all of them, unlike before_save_checkpoint."""
        self._gathered = all_gather_object(random_state())

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Add the gathered states to the checkpoint."""
        if self._gathered and not checkpoint["meta"].get("final"):
            checkpoint[KEY], self._gathered = self._gathered, []

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Keep the checkpoint's states until `before_train`."""
        self._loaded = checkpoint.get(KEY, [])

    def before_train(self, runner: Runner) -> None:
        """Restore the state of this process."""
        if get_rank() < len(self._loaded):
            restore(self._loaded[get_rank()])
        elif self._loaded:
            runner.logger.warning(
                f"The checkpoint has the random states of {len(self._loaded)} processes; process {get_rank()} starts with a new one."
            )
        self._loaded = []


def random_state() -> dict[str, Any]:
    """Return the states of Python's, numpy's and torch's generators (CPU and current CUDA device) as plain data."""
    kind, keys, position, has_gauss, gauss = np.random.get_state()
    cuda = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
    return {
        "python": random.getstate(),
        "numpy": (str(kind), torch.from_numpy(np.asarray(keys, dtype=np.int64)), int(position), int(has_gauss), float(gauss)),
        "torch": torch.get_rng_state(),
        "cuda": cuda,
    }


def restore(state: dict[str, Any]) -> None:
    """Set all generators to a state from `random_state`."""
    version, internal, gauss_next = state["python"]
    random.setstate((version, tuple(internal), gauss_next))
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
