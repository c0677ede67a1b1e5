"""Pictures that cannot be read: each is named once and counted, or ends the training."""

from collections.abc import Sequence
from typing import Any

from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmengine.runner import Runner

from camtool.errors import ImageError, some
from camtool.registry import HOOKS
from camtool.train.skip_broken import Broken

KEY = "broken_pictures"
"""Where the message hub, and so every checkpoint, has {path: reason}."""

_ENOUGH = {"train": 8, "val": 100}
"""Unreadable pictures in a row, from the first on, that are no accident; a validation goes by folders, and one may be damaged."""


@HOOKS.register_module(name=["BrokenImagesHook", "BrokenPictures"])  # the second: configs written before
class BrokenImagesHook(Hook):  # type: ignore[misc]  # mmengine has no types
    """Names each broken picture when it is first met, and says at the end how many there were.

    Args:
        strict: the first one ends the training.
    """

    def __init__(self, strict: bool = False) -> None:
        self.strict = strict
        self._unread = {"train": 0, "val": 0}  # in this run: those of the run that it goes on from say nothing of these data
        self._read: set[str] = set()

    def on_broken_pictures(self, runner: Runner, broken: Sequence[Broken], left: bool, split: str) -> None:
        """Take note of what is missing from a batch of the split "train" or "val", of which something is `left`, or nothing.

        Raises:
            ImageError: with `strict`; or where none of the first pictures could be read: then the data or the pipeline is wrong.
        """
        met: dict[str, str] = runner.message_hub.get_info(KEY) or {}
        for path, reason in broken:
            if self.strict:
                raise ImageError(f"Picture '{path}' cannot be read: {reason}. Without --strict it is skipped.")
            if path not in met:
                met[path] = reason
                runner.logger.warning(f"Picture '{path}' is skipped, {len(met)} so far: {reason}")
        runner.message_hub.update_info(KEY, met)
        if left:
            self._read.add(split)
        self._unread[split] += len(broken)
        loader = runner.train_dataloader if split == "train" else runner.val_dataloader
        if split not in self._read and self._unread[split] >= min(_ENOUGH[split], len(loader.sampler)):  # the share of this process
            path, reason = broken[0]
            raise ImageError(
                f"No picture of '{split}_dataloader' can be read: none of the first {self._unread[split]}; of '{path}': {reason}."
            )

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Note that pictures can be read."""
        self._read.add("train")

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Note that pictures can be read."""
        self._read.add("val")

    def after_train(self, runner: Runner) -> None:
        """Say how many there were, on all processes together."""
        gathered: list[dict[str, str]] = all_gather_object(runner.message_hub.get_info(KEY) or {})
        met = {path: reason for each in gathered for path, reason in each.items()}
        if met:
            runner.message_hub.update_info(KEY, met)
            runner.logger.warning(f"{len(met)} pictures could not be read and were skipped: {some(list(met), most=10)}.")
