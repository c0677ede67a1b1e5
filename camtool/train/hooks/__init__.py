"""What mmengine's Runner lacks, one hook a file."""

from camtool.train.hooks.broken_pictures import BrokenPictures as BrokenPictures
from camtool.train.hooks.checkpoint import CheckpointHook as CheckpointHook
from camtool.train.hooks.curves import Curves as Curves
from camtool.train.hooks.early_stopping import EarlyStopping as EarlyStopping
from camtool.train.hooks.param_scheduler import ParamSchedulerHook as ParamSchedulerHook
from camtool.train.hooks.random_state import RandomState as RandomState
