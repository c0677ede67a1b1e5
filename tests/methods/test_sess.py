"""SESS: windows, pre-filtering, the raw map's grid, and what it goes around."""

import pytest
import torch

from camtool import CAM
from camtool.errors import MethodError
from camtool.methods import SESS, EigenCAM, Needs, build_method
from camtool.targets import ClassContrast
from tests.networks import SIZES, images, small_net

pytestmark = pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")


def test_windows_cover_every_enlargement_and_end_at_its_borders() -> None:
    for size in ((9,), (8, 12), (4, 6, 5), (1,)):
        for stride in (1.0, 0.5):
            windows = SESS(scales=5, stride=stride).windows(size)
            assert windows[0].scaled == size
            for scaled in {window.scaled for window in windows}:
                seen = torch.zeros(scaled)
                for window in windows:
                    if window.scaled == scaled:
                        window.of(seen.view(1, 1, *scaled), size).add_(1)
                assert seen.amin() > 0, (size, scaled)


def test_a_window_is_put_back_to_where_it_came_from() -> None:
    places = torch.zeros(1, 8, 12)
    places[0, 1:3, 7:9] = 1.0
    (window,) = [w for w in SESS(scales=2, growth=1.0).windows((8, 12)) if w.starts == (0, 12)]
    enlarged = torch.nn.functional.interpolate(places[None], scale_factor=2, mode="bilinear")
    torch.testing.assert_close(
        window.put_back(window.of(enlarged, (8, 12))[0]), torch.nn.functional.interpolate(enlarged, (8, 12), mode="bilinear")[0]
    )


def test_one_scale_without_smoothing_is_the_wrapped_methods_own_map() -> None:
    spec = [{"type": "sess", "method": name, "scales": 1, "sigma": 0.0} for name in ("layercam", "eigencam")]
    results = CAM(small_net(), ["early"], [*spec, "layercam", "eigencam"])(images(), [[0, 1], [2, 3]])
    for name in ("layercam", "eigencam"):
        torch.testing.assert_close(results[f"sess:{name}"].maps, results[name].maps, rtol=1e-4, atol=1e-5)


def test_pre_filtering_keeps_each_samples_own_best_windows() -> None:
    model, inputs = small_net(), images(count=3)
    method = SESS(scales=3, pre_filter=0.75, sigma=0.0)
    count = len(method.windows(SIZES[2]))
    batch = CAM(model, "early", method)(inputs, [0, 1, 2])
    for sample in range(3):
        single = CAM(model, "early", method)(inputs[sample : sample + 1], sample)
        torch.testing.assert_close(single.raw["early"][0], batch.raw["early"][sample], rtol=1e-4, atol=1e-6)
    whole = CAM(model, "early", SESS(scales=3, sigma=0.0))(inputs, [0, 1, 2])
    assert not torch.equal(whole.maps, batch.maps)
    assert method.further_passes(6, 20, SIZES[2]) == count + (count - int(count * 0.75))
    assert SESS(scales=3, method=build_method("smooth")).further_passes(6, 20, SIZES[2]) == count * 17


def test_almost_all_windows_filtered_leaves_the_best_one() -> None:
    model, inputs = small_net(double=True), images(count=1, double=True)
    method = SESS(scales=4, pre_filter=0.99, sigma=0.0)
    windows = method.windows(SIZES[2])
    raw = CAM(model, "early", method)(inputs, 2).raw["early"]
    enlarged = [torch.nn.functional.interpolate(inputs, w.scaled, mode="bilinear") for w in windows]
    with torch.no_grad():
        best = torch.stack([model(w.of(large, SIZES[2])).softmax(1)[0, 2] for w, large in zip(windows, enlarged, strict=True)]).argmax()
    maps = CAM(model, "early", dtype=torch.float64)(windows[best].of(enlarged[best], SIZES[2]), 2).maps
    torch.testing.assert_close(raw, windows[best].put_back(maps).where(windows[best].put_back(maps) > 1e-6, 0))


@pytest.mark.parametrize("name", ["sess", "smooth(samples=2):sess(scales=2)", "sess(scales=2):smooth(samples=2)", "finer:sess(scales=2)"])
def test_the_raw_map_has_the_inputs_size_wherever_the_layers_cells_lie(name: str) -> None:
    model, inputs = small_net(), images()
    result = CAM(model, "late", name, placement={"scale": (2.0, 2.0), "offset": (1.0, 0.0)})(inputs, 1)
    assert result.raw["late"].shape == (2, *SIZES[2])
    even = CAM(model, "late", name)(inputs, 1)
    assert not torch.equal(result.raw["late"], even.raw["late"]), "the windows' maps lie where their cells do"
    low, high = (value.view(-1, 1, 1) for value in result.raw["late"].flatten(1).aminmax(dim=1))
    torch.testing.assert_close(result.maps, (result.raw["late"] - low) / (high - low))
    assert result.placement["late"].divides_evenly(SIZES[2], SIZES[2])


def test_a_target_that_is_no_class_is_weighted_by_its_positive_score() -> None:
    result = CAM(small_net(), "early", SESS(scales=2))(images(), ClassContrast(0, 1))
    assert result.maps.isfinite().all()


def test_around_a_method_without_classes_the_map_depends_on_the_class() -> None:
    method = SESS(method=EigenCAM(), scales=2)
    assert method.class_discriminative
    assert method.needs == Needs()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("sess:shapleycam", "'sess' cannot wrap 'shapleycam': it needs second derivatives, .* windows of the input"),
        ("sess:ablationcam", "scores of other activations, which are not available for windows of the input"),
        ("sess:rollout", "it reads no target layer"),
        ("integrated:sess", "Wrap a gradient method"),
        ("sess(scales=0)", "Method 'sess:gradcam': expected as 'scales' at least 1, got 0"),
        ("sess(pre_filter=1.0)", "expected as 'pre_filter' a number from 0 to below 1, got 1.0"),
        ("sess(stride=0.0)", "expected as 'stride' a number above 0 and at most 1"),
        ("sess(growth=-1.0)", "expected as 'growth' a number above 0"),
        ("sess(sigma=-1.0)", "expected as 'sigma' 0 or more"),
        ("sess(theta=1.5)", "expected as 'theta' a number from 0 to below 1"),
    ],
)
def test_what_cannot_be_is_said(given: str, words: str) -> None:
    with pytest.raises(MethodError, match=words):
        build_method(given)
