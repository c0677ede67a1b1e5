"""What the analysis tells of a network that is trained on scikit-learn's digits; the figures of camtool/analysis/README.md."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from camtool.analysis import Normaliser
from camtool.analysis.consistency import agreements, points
from camtool.analysis.importance import importance
from camtool.analysis.kept_channels import scores_of_kept_channels
from camtool.analysis.selection import masks_of, selection_masks
from camtool.analysis.sources import only_source
from camtool.errors import DataError
from tests.analysis.digits import CHANNELS, LAYER, store_of, trained

README = Path(__file__).parents[2] / "camtool/analysis/README.md"


def stated(heading: str) -> list[float]:
    """Return the numbers of a row of the README's table."""
    (row,) = [line for line in README.read_text(encoding="utf-8").splitlines() if line.startswith(f"| {heading}")]
    return [float(number) for number in re.findall(r"-?\d+\.\d+", row.split("|", 2)[2])]


def test_the_sum_of_a_map_on_the_data_sets_scale_is_the_logit(tmp_path: Path) -> None:
    network = trained()
    fitted = Normaliser.fit(store_of(tmp_path / "train", network.seen[:300], network.seen_labels[:300]))
    found = agreements(points(store_of(tmp_path / "val", network.pictures, network.labels, every_class=True), fitted))

    by_class = found[1:]
    assert len(by_class) == 10
    assert all(one.corr_logit.r >= 0.9999 for one in by_class)
    means = [np.mean([getattr(one, name).r for one in by_class]) for name in ("corr_logit", "clipped", "own_scale", "corr")]
    print("mean r by class: logit, clipped, own scale, probability:", means, "all:", found[0])
    assert means[2] < 0.8
    assert means[2] < means[1] < means[0]
    assert all(one.auroc > 0.95 for one in by_class)
    assert (
        np.abs(np.array(means) - np.array([stated(name)[0] for name in ("`corr_logit`", "clipped", "own scale,", "`corr`")])).max() < 0.02
    )


def test_a_few_features_keep_the_accuracy_but_the_choice_itself_tells_the_class(tmp_path: Path) -> None:
    network = trained()
    seen = store_of(tmp_path / "train", network.seen[:600], network.seen_labels[:600])
    found = importance(seen, only_source(seen))
    pictures, labels = network.pictures[:200], network.labels[:200]
    predicted = network.model(pictures).argmax(dim=1).tolist()
    others = [(k + 1 + number % 9) % 10 for number, k in enumerate(predicted)]
    ratios = (0.05, 0.1, 0.25)
    selections = [masks_of(selection_masks(found, mode, ratio=ratio), predicted) for mode in ("top", "diff_top") for ratio in ratios]
    selections.append(masks_of(selection_masks(found, "reverse_diff_top", ratio=0.25), predicted))
    selections += [masks_of(selection_masks(found, "diff_top", ratio=ratio), others) for ratio in ratios]

    widest = np.argsort(-np.abs(found.difference).max(axis=0))  # channels that matter to some class, the same for every sample
    for ratio in ratios:
        selections.append(np.tile(np.isin(np.arange(CHANNELS), widest[: int(ratio * CHANNELS)]).astype(float), (len(labels), 1)))

    kept = scores_of_kept_channels(network.model, LAYER, pictures, torch.from_numpy(np.stack(selections, axis=1)).float())

    before, after = kept.accuracy(labels.tolist())
    _, as_others = kept.accuracy(others)
    print(before, after, as_others[7:10])
    assert found.target.shape == (10, CHANNELS)
    assert before > 0.95
    assert min(after[2], after[5]) >= before - 0.01
    assert after[6] < after[5] - 0.1
    for row, figures in (
        ("`top`", after[:3]),
        ("`diff_top`", after[3:6]),
        ("the `diff_top` of another class", after[7:10]),
        ("same for all samples", after[10:]),
    ):
        assert [before, *figures] == pytest.approx(stated(row), abs=0.03)
    assert as_others[7:10] == pytest.approx(stated("taken for that class")[1:], abs=0.05)


def test_masks_of_the_wrong_shape_are_refused_and_the_network_stays_as_it_is() -> None:
    network = trained()
    before = network.model(network.pictures[:2])
    kept = scores_of_kept_channels(network.model, LAYER, network.pictures[:2], torch.ones(2, 1, CHANNELS))

    torch.testing.assert_close(kept.before, before)
    torch.testing.assert_close(kept.after[:, 0], before)
    torch.testing.assert_close(network.model(network.pictures[:2]), before)
    for masks in (torch.ones(1, 1, CHANNELS), torch.ones(2, 1, 3), torch.full((2, 1, CHANNELS), torch.nan)):
        with pytest.raises(DataError, match="finite masks for 2 samples and the 64 channels"):
            scores_of_kept_channels(network.model, LAYER, network.pictures[:2], masks)


def test_kept_channels_are_those_of_a_literal_pass_through_the_head() -> None:
    network = trained()
    pictures, masks = network.pictures[:4], (torch.rand(4, 3, CHANNELS) > 0.5).float()

    kept = scores_of_kept_channels(network.model, LAYER, pictures, masks)

    for sample in range(4):
        for k in range(3):
            features = network.model[:6](pictures[sample : sample + 1]) * masks[sample, k][None, :, None, None]
            torch.testing.assert_close(kept.after[sample, k], network.model[6:](features)[0])


def test_a_layer_that_is_called_several_times_is_refused() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Conv2d(1, 2, 3)

        def forward(self, pictures: torch.Tensor) -> torch.Tensor:
            return self.body(pictures).mean((2, 3)) - self.body(pictures.flip(3).square()).mean((2, 3))

    with pytest.raises(DataError, match="Layer 'body' is called 2 times in a pass"):
        scores_of_kept_channels(Twice().eval(), "body", torch.rand(1, 1, 8, 8), torch.ones(1, 1, 2))
