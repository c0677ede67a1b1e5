"""When maps are the same, by hand."""

import pytest
import torch

from camtool import CAM
from camtool.attribution.result import CAMResult, finished
from camtool.benchmark.agreement import _rank_correlation, _ranks, with_eager, with_peer
from camtool.benchmark.networks import TINY, build, subject
from camtool.functional import min_max

pytestmark = pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")


def _results(*methods: str) -> list[CAMResult]:
    tiny = build(TINY, "cpu")
    given = subject(TINY, tiny, 2, 2, "cpu")
    return list(CAM(tiny, given.layer, list(methods))(given.inputs, given.classes).values())


def test_the_largest_difference_of_any_method_class_and_sample_counts() -> None:
    results = _results("gradcam", "layercam")
    theirs = [result.maps[:, k].clone() for result in results for k in range(2)]
    assert with_peer(results, theirs).difference == 0

    theirs[3][1, 5, 6] += 0.25
    found = with_peer(results, theirs)

    assert found.difference == pytest.approx(0.25)
    assert not found.holds
    assert (found.maps, found.blank) == (8, 0)


def test_maps_at_the_size_of_the_features_are_compared_with_ours_before_the_resize() -> None:
    (result,) = _results("layercam")
    (raw,) = result.raw.values()
    assert with_peer([result], [min_max(raw[:, k].clamp(min=0)) for k in range(2)]).difference < 1e-6
    assert not with_peer([result], [min_max(raw[:, 1 - k].clamp(min=0)) for k in range(2)]).holds


@pytest.mark.parametrize(("method", "holds"), [("eigencam", True), ("hirescam", False)])
def test_only_a_principal_component_may_have_the_other_sign(method: str, holds: bool) -> None:
    (result,) = _results(method)
    (raw,) = result.raw.values()
    turned = finished({"": -raw}, result.maps.shape[2:]).maps

    assert with_peer([result], [turned[:, k] for k in range(2)]).holds == holds


def test_nan_is_no_agreement_and_blank_maps_are_counted() -> None:
    (result,) = _results("gradcam")
    assert not with_peer([result], [torch.full_like(result.maps[:, 0], torch.nan)] * 2).holds
    result.maps.zero_()
    assert with_peer([result], [torch.zeros_like(result.maps[:, 0])] * 2).blank == 4


def test_ranks_of_ties_are_their_mean_and_the_correlation_is_spearmans() -> None:
    assert _ranks(torch.tensor([0.0, 5.0, 0.0, 9.0])).tolist() == [1.5, 3.0, 1.5, 4.0]
    rows = torch.tensor([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
    others = torch.tensor([[1.0, 4.0, 99.0], [3.0, 2.0, 1.0], [1.0, 3.0, 2.0]])
    torch.testing.assert_close(_rank_correlation(rows, others), torch.tensor([1.0, -1.0, 0.5], dtype=torch.float64))


def test_lower_precision_is_judged_by_ranks_and_the_same_precision_by_values() -> None:
    plain, stretched = _results("gradcam"), _results("gradcam")
    stretched[0].maps.pow_(2)

    assert with_eager(plain, plain, ranks=False).difference == 0
    assert not with_eager(stretched, plain, ranks=False).holds
    assert with_eager(stretched, plain, ranks=True).difference == pytest.approx(0, abs=1e-6)
