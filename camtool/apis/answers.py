"""Answers: the maps of a batch of prepared images, or the error of each that has none."""

import warnings
from collections.abc import Sequence
from dataclasses import replace

import torch

from camtool.apis.selection_base import TargetSelection
from camtool.apis.selection_result import SelectionResult
from camtool.apis.subjects import Prepared
from camtool.attribution.cam import CAM
from camtool.attribution.sliding_window import SlidingWindow
from camtool.errors import CamtoolError, as_camtool_error, emit_again, recorded_warnings
from camtool.models import Network


def answers(
    cam: CAM | SlidingWindow, network: Network, batch: Sequence[Prepared], selection: TargetSelection, *, named: bool = False
) -> list[SelectionResult | CamtoolError]:
    """Return for each of a batch's images, which are of one size, its maps or the error; remarks go to its `warnings`.

    A batch that fails is repeated image by image, so that only the images concerned give an error.

    Args:
        named: whether warnings begin with the names of the images.
    """
    try:
        return [*_of_batch(cam, network, batch, selection, named=named)]
    except Exception as error:
        described = as_camtool_error(error)  # a network may not take one image, such as a small one
        if described is None:
            raise
        if len(batch) == 1:
            return [described]
        return [answer for prepared in batch for answer in answers(cam, network, [prepared], selection, named=named)]


def _of_batch(
    cam: CAM | SlidingWindow, network: Network, batch: Sequence[Prepared], selection: TargetSelection, *, named: bool
) -> list[SelectionResult]:
    inputs = torch.cat([prepared.inputs for prepared in batch]).to(next(network.model.parameters()).device)
    caught: list[warnings.WarningMessage] = []
    try:
        with recorded_warnings() as caught:
            fitted = selection.fitted([prepared.picture for prepared in batch], network)
            found = fitted.explain(cam, network, inputs, [prepared.label for prepared in batch])
    except Exception:
        for warning in caught if len(batch) == 1 else ():  # a larger batch is repeated, and warns again
            emit_again(warning)
        raise
    for warning in caught:
        sample = getattr(warning.message, "sample", None)
        message = str(warning.message)
        concerned = batch if sample is None else [batch[sample]]
        for prepared in concerned:  # each explanation has one sample
            prepared.warnings.append(message.replace(f", sample {sample}", ", sample 0", 1))
        names = ", ".join(prepared.picture.name for prepared in concerned)
        emit_again(warning, f"{names}: {message.replace(f', sample {sample}', '', 1)}" if named else "")
    return [replace(answer, refusals=dict(cam.refusals)) for answer in found]
