"""Hooks for mmengine's Runner, one for each file."""

from camtool.train.hooks.broken_images_hook import BrokenImagesHook as BrokenImagesHook
from camtool.train.hooks.checkpoint_hook import CheckpointHook as CheckpointHook
from camtool.train.hooks.curves_hook import CurvesHook as CurvesHook
from camtool.train.hooks.early_stopping_hook import EarlyStoppingHook as EarlyStoppingHook
from camtool.train.hooks.param_scheduler_hook import ParamSchedulerHook as ParamSchedulerHook
from camtool.train.hooks.random_state_hook import RandomStateHook as RandomStateHook

HOOK_ALIASES = {
    "BrokenImagesHook": "BrokenPictures",
    "CurvesHook": "Curves",
    "EarlyStoppingHook": "EarlyStopping",
    "RandomStateHook": "RandomState",
}
"""Former names of hooks, for older configs."""
