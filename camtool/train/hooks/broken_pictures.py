"""Pictures that cannot be read: each is named once and counted, or ends the training."""

from collections.abc import Sequence
from typing import Any

from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmengine.runner import Runner

from camtool.errors import ImageError
from camtool.registry import HOOKS
from camtool.train.datasets import Broken

KEY = "broken_pictures"
"""Where the message hub, and so every checkpoint, has {path: reason}."""


@HOOKS.register_module()
class BrokenPictures(Hook):  # type: ignore[misc]  # mmengine has no types
    """Names each broken picture when it is first met, and says at the end how many there were.

    Args:
        strict: the first one ends the training.
    """

    def __init__(self, strict: bool = False) -> None:
        self.strict = strict

    def on_broken_pictures(self, runner: Runner, broken: Sequence[Broken], left: bool) -> None:
        """Take note of what is missing from a batch of which something is `left`, or nothing.

        Raises:
            ImageError: with `strict`; or where no picture at all could be read so far, which no broken picture explains.
        """
        met: dict[str, str] = runner.message_hub.get_info(KEY) or {}
        for path, reason in broken:
            if self.strict:
                raise ImageError(f"Picture '{path}' cannot be read: {reason}. Without --strict it is skipped.")
            if path not in met:
                met[path] = reason
                runner.logger.warning(f"Picture '{path}' is skipped, {len(met)} so far: {reason}")
        runner.message_hub.update_info(KEY, met)
        if not left and "train/loss" not in runner.message_hub.log_scalars and runner.message_hub.get_info("loop_stage") == "train":
            raise ImageError(
                f"None of the {len(broken)} pictures of the first batch can be read; the first is '{broken[0].path}': {broken[0].reason}."
            )

    def after_train(self, runner: Runner) -> None:
        """Say how many there were, on all processes together."""
        gathered: list[dict[str, str]] = all_gather_object(runner.message_hub.get_info(KEY) or {})
        met = {path: reason for each in gathered for path, reason in each.items()}
        if met:
            runner.message_hub.update_info(KEY, met)
            runner.logger.warning(f"{len(met)} pictures could not be read and were skipped: {_some(list(met))}.")


def _some(paths: Sequence[str], most: int = 10) -> str:
    return ", ".join(paths[:most]) + (", …" if len(paths) > most else "")
