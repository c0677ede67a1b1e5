"""Annotations: boxes and masks of objects, by sample, from the files that data sets come with."""

from camtool.datasets.annotations.annotation import Annotation as Annotation
from camtool.datasets.annotations.annotation import Annotations as Annotations
from camtool.datasets.annotations.annotation import bounding_box as bounding_box
from camtool.datasets.annotations.annotation import class_masks as class_masks
from camtool.datasets.annotations.read import KINDS as KINDS
from camtool.datasets.annotations.read import read_annotations as read_annotations
from camtool.datasets.annotations.samples import sample_annotations as sample_annotations

__all__ = ["KINDS", "Annotation", "Annotations", "bounding_box", "class_masks", "read_annotations", "sample_annotations"]
