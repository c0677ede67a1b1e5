"""A hook that kills its own process as `kill -9` does: in the middle of an epoch, or of writing a file."""

import os
import signal
from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS


def die(*_: Any, **__: Any) -> None:
    """Leave nobody a chance to tidy up."""
    os.kill(os.getpid(), signal.SIGKILL)


@HOOKS.register_module()
class Dying(Hook):
    """Dies after the iteration DIE_AT, or when the file whose name begins with DIE_WRITING is complete but has not its name yet."""

    def before_train(self, runner: Any) -> None:
        writing = os.environ.get("DIE_WRITING")
        if writing:
            replace = os.replace
            os.replace = lambda source, target: die() if os.path.basename(target).startswith(writing) else replace(source, target)

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if os.environ.get("DIE_AT") == str(runner.iter):
            die()
