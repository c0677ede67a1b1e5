"""Targets: what a map explains, one scalar of the network's output per sample; one file each."""

from camtool.targets._base import Target as Target
from camtool.targets.class_score import ClassScore as ClassScore
from camtool.targets.output import find_logits as find_logits
from camtool.targets.resolve import FromLogits as FromLogits
from camtool.targets.resolve import of_first_sample as of_first_sample
from camtool.targets.resolve import resolve_targets as resolve_targets
from camtool.targets.resolve import scores as scores
from camtool.targets.resolve import top_k as top_k
