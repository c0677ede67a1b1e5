"""Targets: what a map explains, one scalar of the network's output per sample; one file each."""

from camtool.targets._base import ClassTarget as ClassTarget
from camtool.targets._base import Target as Target
from camtool.targets.binary_score import BinaryScore as BinaryScore
from camtool.targets.box_score import BoxScore as BoxScore
from camtool.targets.build import Kind as Kind
from camtool.targets.build import build_kind as build_kind
from camtool.targets.build import find_kind as find_kind
from camtool.targets.build import kind_names as kind_names
from camtool.targets.class_contrast import ClassContrast as ClassContrast
from camtool.targets.class_probability import ClassProbability as ClassProbability
from camtool.targets.class_score import ClassScore as ClassScore
from camtool.targets.embedding_similarity import EmbeddingSimilarity as EmbeddingSimilarity
from camtool.targets.finer_score import FinerScore as FinerScore
from camtool.targets.output import Output as Output
from camtool.targets.output import PerSample as PerSample
from camtool.targets.output import find_logits as find_logits
from camtool.targets.output import samples_of as samples_of
from camtool.targets.raw_output import RawOutput as RawOutput
from camtool.targets.region import Region as Region
from camtool.targets.resolve import FromLogits as FromLogits
from camtool.targets.resolve import of_copies as of_copies
from camtool.targets.resolve import of_first_sample as of_first_sample
from camtool.targets.resolve import resolve_targets as resolve_targets
from camtool.targets.resolve import scores as scores
from camtool.targets.resolve import top_k as top_k
