"""Maps of large inputs, window by window."""

import pytest
import torch
from torch import Tensor, nn

from camtool import CAM
from camtool.attribution.result import CAMResult
from camtool.attribution.sliding_window import SlidingWindow, Windows
from camtool.errors import LayerError, MethodError
from camtool.fusion import Mean, Winsorized
from camtool.placement import placed
from camtool.targets import Region

CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
POOL = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}


def pooled(rank: int, stride: int = 2, seed: int = 0) -> nn.Sequential:
    """Return a network of convolutions, a global mean and one linear layer: its receptive field reaches 3 positions."""
    torch.manual_seed(seed)
    return nn.Sequential(
        CONV[rank](1, 4, 3, stride=stride, padding=1),
        nn.ReLU(),
        CONV[rank](4, 6, 3, padding=1),
        POOL[rank](1),
        nn.Flatten(),
        nn.Linear(6, 3),
    ).eval()


def inputs_of(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.randn(1, 1, *shape, generator=torch.Generator("cpu").manual_seed(seed))


@pytest.mark.parametrize("shape", [(96,), (64, 48), (40, 32, 24)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
def test_the_windows_cover_every_position_and_lie_inside(shape: tuple[int, ...], overlap: float) -> None:
    windows = Windows.over(shape, (17,) * len(shape), overlap)
    covered = torch.zeros(shape)

    for place in windows:
        assert covered[place].shape == windows.size
        covered[place] += 1

    assert covered.min() >= 1
    assert len(windows) == len(list(windows))


@pytest.mark.parametrize("shape", [(50,), (20, 33), (12, 20, 9)])
def test_weights_of_all_windows_are_divided_out(shape: tuple[int, ...]) -> None:
    windows = Windows.over(shape, (8,) * len(shape), 0.4)
    values, sums = torch.randn(2, *shape), torch.zeros(2, *shape)

    for place in windows:
        sums[(slice(None), *place)] += windows.weighted(values[(slice(None), *place)])

    torch.testing.assert_close(windows.averaged(sums), values)


@pytest.mark.filterwarnings("ignore:.*no positive evidence")
@pytest.mark.parametrize("method", ["gradcam", "hirescam", "layercam"])
@pytest.mark.parametrize(("shape", "window"), [((256,), 64), ((128, 96), 32), ((64, 64, 40), 32)])
def test_the_blended_map_is_that_of_the_whole_up_to_one_factor(shape: tuple[int, ...], window: int, method: str) -> None:
    model, given = pooled(len(shape)).double(), inputs_of(shape).double()
    cam = CAM(model, "[2]", method)
    whole = cam(given, 1)

    stitched = SlidingWindow(cam, model, window, 0.5, Mean())(given, 1)

    positions = placed_raw(whole, shape)
    inside = away_from_borders(shape, window, 6)
    factors = (stitched.raw["[2]"][0][inside] / positions[inside])[positions[inside].abs() > 1e-3 * positions.abs().max()]
    assert inside.float().mean() > 0.02
    torch.testing.assert_close(factors, factors.median().expand_as(factors), rtol=1e-4, atol=0)


def placed_raw(result: CAMResult, shape: tuple[int, ...]) -> Tensor:
    return placed(result.raw["[2]"], shape, result.placement["[2]"])[0]


def away_from_borders(shape: tuple[int, ...], window: int, reach: int) -> Tensor:
    """Return where each window that covers a position covers all positions up to `reach` from it, too, or the input ends."""
    inside = torch.ones(shape, dtype=torch.bool)
    for axis, starts in enumerate(Windows.over(shape, (window,) * len(shape), 0.5).starts):
        positions = torch.arange(shape[axis])
        along = torch.ones(shape[axis], dtype=torch.bool)
        for border in set(starts) | {start + window for start in starts}:
            if 0 < border < shape[axis]:
                along &= (positions - border).abs() >= reach
        inside &= along.view(*[-1 if other == axis else 1 for other in range(len(shape))])
    return inside


def test_the_class_is_that_of_the_mean_of_the_windows_scores() -> None:
    model, given = pooled(2), inputs_of((64, 64), seed=3)
    windows = Windows.over((64, 64), (32, 32), 0.5)
    with torch.no_grad():
        mean = torch.stack([model(given[(..., *place)])[0] for place in windows]).mean(dim=0)

    result = SlidingWindow(CAM(model, "[2]"), model, 32, 0.5, Mean())(given)

    torch.testing.assert_close(result.logits[0], mean)
    assert result.targets == [int(mean.argmax())]
    assert result.source == "at [2], 9 windows of 32x32"


def test_a_window_as_large_as_the_input_changes_nothing() -> None:
    model, given = pooled(3), inputs_of((16, 12, 20))
    cam = CAM(model, "[2]")

    torch.testing.assert_close(SlidingWindow(cam, model, 32, 0.5, Mean())(given, 0).maps, cam(given, 0).maps, rtol=0, atol=0)


def test_several_samples_methods_and_targets() -> None:
    model = pooled(2)
    given = torch.cat([inputs_of((40, 40), seed) for seed in range(2)])
    sliding = SlidingWindow(CAM(model, "[2]", ["gradcam", "layercam"]), model, 24, 0.5, Mean())

    together, alone = sliding(given, [[0, 1], [2, 0]]), sliding(given[1:], [[2, 0]])

    assert together["gradcam"].maps.shape == (2, 2, 40, 40)
    for name in ("gradcam", "layercam"):
        torch.testing.assert_close(together[name].maps[1:], alone[name].maps)


def test_a_window_whose_score_has_no_gradient_counts_as_zeros() -> None:
    model = nn.Sequential(nn.Identity(), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    given = torch.full((1, 1, 32, 32), -1.0)
    given[..., 20:30, 20:30] = 2.0
    result = SlidingWindow(CAM(model, "[0]"), model, 16, 0.0, Mean())(given, 0)

    assert result.status == ["ok"]
    assert result.maps[0, :16, :16].amax() == 0
    assert result.maps[0, 25, 25] == 1
    with pytest.raises(LayerError, match="gradient of exactly zero"):
        SlidingWindow(CAM(model, "[0]"), model, 16, 0.0, Mean())(given.clamp(max=-1), 0)


class Lights(nn.Module):
    """Bright positions are counted; where all is dark, nothing has a gradient."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.conv = CONV[rank](1, 2, 3, padding=1)
        with torch.no_grad():
            self.conv.weight.fill_(1 / 3**rank)
            self.conv.bias.fill_(-0.1)

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.relu(self.conv(inputs)).flatten(2).mean(dim=2)


@pytest.mark.parametrize("at_once", [1, 3])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_the_layer_is_derived_from_a_window_with_a_gradient(rank: int, at_once: int) -> None:
    model = Lights(rank)
    given = 1e-3 * torch.rand(1, 1, *(36, 36, 36)[:rank], generator=torch.Generator().manual_seed(0))
    given[(..., *[slice(17, 19)] * rank)] += 2.0  # in no window at the borders
    cam = CAM(model, method=["gradcam", "saliency"], skip_unfit=at_once == 1)

    results = SlidingWindow(cam, model, 16, 0.0, Mean(), at_once=at_once)(given, 0)

    assert list(results) == ["gradcam", "saliency"]
    assert results["gradcam"].source.startswith("at conv, ")
    peak = torch.unravel_index(results["gradcam"].maps[0].argmax(), given.shape[2:])
    assert all(17 <= axis < 19 for axis in peak)


def test_a_region_of_a_dense_output_and_windows_without_any_of_it() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv3d(1, 3, 3, padding=1), nn.ReLU(), nn.Conv3d(3, 2, 1)).eval()
    given = inputs_of((24, 16, 16))
    mask = torch.zeros(24, 16, 16)
    mask[2:5, 3:7, 4:7] = 1
    cam = CAM(model, "[0]", "hirescam")

    result = SlidingWindow(cam, model, 8, 0.0, Mean())(given, [[Region(mask, 1)]])

    whole = cam(given, [[Region(mask, 1)]])
    with torch.no_grad():
        assert result.logits.shape == (1, 2, 24, 16, 16)
        torch.testing.assert_close(result.logits[..., 2:6, 2:6, 2:6], model(given)[..., 2:6, 2:6, 2:6])
    assert result.raw["[0]"][0, 0, 8:].abs().max() == 0
    torch.testing.assert_close(result.raw["[0]"], whole.raw["[0]"])


def test_windows_leave_no_trace_and_no_warnings_of_their_own(recwarn: pytest.WarningsRecorder) -> None:
    model, given = pooled(2), inputs_of((48, 48))
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}

    SlidingWindow(CAM(model, "[2]"), model, 16, 0.5, Mean())(given)

    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not [warning for warning in recwarn if "sample" in str(warning.message) and "no positive evidence" in str(warning.message)]


@pytest.mark.parametrize(
    ("window", "overlap", "message"),
    [
        (0, 0.5, r"Expected a window as a number of positions, or one for each axis, got 0"),
        ((8, 8, 8), 0.5, r"Expected a window of 2 sizes, or one for all axes; got 8x8x8"),
        ("8", 0.5, "Expected a window"),
        (8, 1.0, r"Expected an overlap as a share of the window, 0 to 0\.9, got 1\.0"),
        (8, float("nan"), "Expected an overlap"),
        (8, True, "Expected an overlap"),
    ],
)
def test_wrong_windows(window: object, overlap: float, message: str) -> None:
    model = pooled(2)

    with pytest.raises(MethodError, match=message):
        SlidingWindow(CAM(model, "[2]"), model, window, overlap, Mean())(inputs_of((32, 32)))


def test_what_windows_do_not_give() -> None:
    model = pooled(2)
    with pytest.raises(MethodError, match="Fusion 'winsorized' needs importances of the whole input"):
        SlidingWindow(CAM(model, "[2]"), model, 8, 0.5, Winsorized())
    with pytest.raises(MethodError, match="Windows are cut from one input"):
        SlidingWindow(CAM(model, "[2]"), model, 8, 0.5, Mean())((inputs_of((32, 32)), inputs_of((32, 32))))
    odd = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.MaxPool2d(2))
    with pytest.raises(MethodError, match="Expected \\(n, classes\\), or scores"):
        SlidingWindow(CAM(odd, "[0]"), odd, 8, 0.5, Mean())(inputs_of((32, 32)))


@pytest.mark.filterwarnings("ignore:.*no positive evidence")
@pytest.mark.parametrize("at_once", [2, 5, 64])
def test_windows_that_share_a_pass_give_what_each_alone_gives(at_once: int) -> None:
    model = pooled(2)
    given = torch.cat([inputs_of((48, 40), seed) for seed in range(2)])
    cam = CAM(model, "[2]", ["gradcam", "layercam", "scorecam", "smoothgrad"])
    passes: list[int] = []
    handle = model.register_forward_hook(lambda _, arguments, __: passes.append(len(arguments[0])))

    alone = SlidingWindow(cam, model, 16, 0.5, Mean())(given, [[0, 1], [2, 0]])
    before = len(passes)
    together = SlidingWindow(cam, model, 16, 0.5, Mean(), at_once=at_once)(given, [[0, 1], [2, 0]])
    handle.remove()

    assert len(passes) - before < before
    for name, result in alone.items():
        for layer, raw in result.raw.items():
            scale = float(raw.abs().amax())
            torch.testing.assert_close(together[name].raw[layer], raw, rtol=1e-4, atol=1e-5 * scale)
        torch.testing.assert_close(together[name].logits, result.logits)


def test_one_window_without_gradient_does_not_take_the_others_with_it() -> None:
    model = nn.Sequential(nn.Identity(), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    given = torch.full((1, 1, 32, 32), -1.0)
    given[..., 20:30, 20:30] = 2.0
    alone = SlidingWindow(CAM(model, "[0]"), model, 16, 0.0, Mean())(given, 0)
    assert torch.equal(SlidingWindow(CAM(model, "[0]"), model, 16, 0.0, Mean(), at_once=4)(given, 0).maps, alone.maps)
    with pytest.raises(LayerError, match="gradient of exactly zero"):
        SlidingWindow(CAM(model, "[0]"), model, 16, 0.0, Mean(), at_once=4)(given.clamp(max=-1), 0)


def test_windows_without_the_region_are_left_out_of_a_pass() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv3d(1, 3, 3, padding=1), nn.ReLU(), nn.Conv3d(3, 2, 1)).eval()
    given = inputs_of((24, 16, 16))
    mask = torch.zeros(24, 16, 16)
    mask[2:5, 3:11, 4:7] = 1
    cam = CAM(model, "[0]", "hirescam")
    alone = SlidingWindow(cam, model, 8, 0.0, Mean())(given, [[Region(mask, 1)]])
    together = SlidingWindow(cam, model, 8, 0.0, Mean(), at_once=5)(given, [[Region(mask, 1)]])
    torch.testing.assert_close(together.raw["[0]"], alone.raw["[0]"])
    torch.testing.assert_close(together.logits, alone.logits)
    with pytest.raises(MethodError, match="at_once"):
        SlidingWindow(cam, model, 8, 0.0, Mean(), at_once=0)
