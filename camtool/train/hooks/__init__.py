"""What mmengine's Runner lacks, one hook a file."""

from camtool.train.hooks.broken_images_hook import BrokenPictures as BrokenPictures
from camtool.train.hooks.checkpoint_hook import CheckpointHook as CheckpointHook
from camtool.train.hooks.curves_hook import Curves as Curves
from camtool.train.hooks.early_stopping_hook import EarlyStopping as EarlyStopping
from camtool.train.hooks.param_scheduler_hook import ParamSchedulerHook as ParamSchedulerHook
from camtool.train.hooks.random_state_hook import RandomState as RandomState
