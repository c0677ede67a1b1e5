"""Hook that reports unreadable images, or ends the training at the first one."""

from collections.abc import Sequence
from typing import Any

from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmengine.runner import Runner

from camtool.errors import ImageError, some
from camtool.registry import HOOKS
from camtool.train.skip_broken import Broken

KEY = "broken_pictures"
"""Key of {path: reason} in the message hub, and so in every checkpoint."""

_MOST_BROKEN = {"train": 8, "val": 100}
"""Training ends if so many of the first images are all unreadable. More for validation, which reads folder by folder."""


@HOOKS.register_module(name=["BrokenImagesHook", "BrokenPictures"])  # the second name: older configs
class BrokenImagesHook(Hook):  # type: ignore[misc]  # mmengine has no types
    """Hook that logs each unreadable image once, and their number at the end.

    Args:
        strict: end the training at the first unreadable image.
    """

    def __init__(self, strict: bool = False) -> None:
        self.strict = strict
        self._unread = {"train": 0, "val": 0}  # in this run; a run that it resumes may have had other data
        self._read: set[str] = set()

    def on_broken_pictures(self, runner: Runner, broken: Sequence[Broken], left: bool, split: str) -> None:
        """Record the unreadable images of a batch of the split "train" or "val"; `left`: whether the batch has readable ones.

        Raises:
            ImageError: with `strict`; or if none of the first images can be read, since data or pipeline must be wrong then.
        """
        recorded: dict[str, str] = runner.message_hub.get_info(KEY) or {}
        for path, reason in broken:
            if self.strict:
                raise ImageError(f"Picture '{path}' cannot be read: {reason}. Without --strict it would be skipped.")
            if path not in recorded:
                recorded[path] = reason
                runner.logger.warning(f"Picture '{path}' is skipped, {len(recorded)} so far: {reason}")
        runner.message_hub.update_info(KEY, recorded)
        if left:
            self._read.add(split)
        self._unread[split] += len(broken)
        loader = runner.train_dataloader if split == "train" else runner.val_dataloader
        if split not in self._read and self._unread[split] >= min(_MOST_BROKEN[split], len(loader.sampler)):  # the images of this process
            path, reason = broken[0]
            raise ImageError(
                f"No picture of '{split}_dataloader' can be read: none of the first {self._unread[split]}. Reason for '{path}': {reason}."
            )

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Record that images can be read."""
        self._read.add("train")

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Record that images can be read."""
        self._read.add("val")

    def after_train(self, runner: Runner) -> None:
        """Log the number of unreadable images of all processes."""
        gathered: list[dict[str, str]] = all_gather_object(runner.message_hub.get_info(KEY) or {})
        broken = {path: reason for of_process in gathered for path, reason in of_process.items()}
        if broken:
            runner.message_hub.update_info(KEY, broken)
            runner.logger.warning(f"{len(broken)} pictures could not be read and were skipped: {some(list(broken), most=10)}.")
