"""What is measured is what was run: on a tiny network, and with clocks and contestants whose answer is known."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch import nn

from camtool.benchmark import timing as room
from camtool.benchmark.cases import CASES, FORWARDS, MEMORY, PEERS, Case, on_tiny
from camtool.benchmark.networks import TINY, Subject, build, subject
from camtool.benchmark.peers import GRAD_CAM, TORCHCAM
from camtool.benchmark.timing import ABSENT, FAILED, OK, OUT_OF_TIME, CaseResult, Effort, Timing, measure

pytestmark = [
    pytest.mark.filterwarnings("ignore::RuntimeWarning:pytorch_grad_cam"),
    pytest.mark.filterwarnings("ignore::UserWarning"),  # of the peers and their libraries
]

EFFORT = Effort(rounds=3, seconds=60.0)


@pytest.fixture(scope="module")
def tiny() -> nn.Module:
    return build(TINY, "cpu")


def _subject(model: nn.Module, classes: int = 1, batch: int = 2) -> Callable[[], Subject]:
    return lambda: subject(TINY, model, batch, classes, "cpu")


def _case(*methods: str, **changes: object) -> Case:
    return replace(Case("a row", TINY, 2, methods, None), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["gradcam", "gradcam++", "layercam", "xgradcam", "hirescam", "eigencam", "eigengradcam"])
def test_maps_agree_with_the_peers_and_everyone_is_timed(method: str, tiny: nn.Module) -> None:
    measured = measure(_case(method), _subject(tiny), EFFORT, "cpu")

    assert (measured.status, measured.words) == (OK, "")
    assert GRAD_CAM in measured.agreements
    assert (TORCHCAM in measured.agreements) == (method in ("gradcam", "layercam", "xgradcam"))
    for agreement in measured.agreements.values():
        assert agreement.holds
        assert agreement.maps == 2
        assert agreement.blank == 0
    assert measured.timings["forward"].ratio == 1
    assert measured.timings["camtool"].rounds == 3
    assert measured.reached == measured.timings["camtool"].ratio


def test_several_methods_and_several_classes_are_compared_each(tiny: nn.Module) -> None:
    several = measure(_case("gradcam", "hirescam"), _subject(tiny), EFFORT, "cpu")
    classes = measure(_case("gradcam", classes=3), _subject(tiny, classes=3), EFFORT, "cpu")

    assert several.agreements[GRAD_CAM].maps == 4
    assert classes.agreements[GRAD_CAM].maps == classes.agreements[TORCHCAM].maps == 6
    assert not several.differing
    assert not classes.differing


def test_maps_that_differ_are_said_to_differ(tiny: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    def of_another_class(_: Subject, case: Case) -> object:
        other = subject(TINY, tiny, 2, 5, "cpu")
        return grad_cam(replace(other, classes=[row[-1:] for row in other.classes]), case)

    grad_cam = room.peers_of(_case("gradcam"))[GRAD_CAM]
    monkeypatch.setattr(room, "peers_of", lambda _: {GRAD_CAM: of_another_class})

    measured = measure(_case("gradcam"), _subject(tiny), EFFORT, "cpu")

    assert measured.differing == [GRAD_CAM]


def test_what_differs_by_rounding_alone_is_compared_in_float64(tiny: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def rounded(given: Subject, case: Case) -> Iterator[Callable[[], object]]:
        with grad_cam(given, case) as run:
            noise = 0.01 if given.inputs.dtype == torch.float32 else 0.0
            yield lambda: [maps * (1 - noise * torch.rand(maps.shape)) for maps in run()]

    grad_cam = room.peers_of(_case("gradcam"))[GRAD_CAM]
    monkeypatch.setattr(room, "peers_of", lambda _: {GRAD_CAM: rounded})

    measured = measure(_case("gradcam"), _subject(tiny), EFFORT, "cpu")

    assert not measured.differing
    assert measured.agreements[GRAD_CAM].precision == "float64"
    assert next(tiny.parameters()).dtype == torch.float32


def test_the_network_is_as_it_was_after_everyone(tiny: nn.Module) -> None:
    before = {name: value.clone() for name, value in tiny.state_dict().items()}

    for case in on_tiny():
        measure(case, lambda case=case: subject(TINY, tiny, case.batch, case.classes, "cpu"), Effort(1, 0.0), "cpu")

    assert all(torch.equal(value, before[name]) for name, value in tiny.state_dict().items())
    assert all(parameter.grad is None for parameter in tiny.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in tiny.modules())


def test_what_does_not_exist_yet_is_said_and_nothing_is_built(tiny: nn.Module) -> None:
    def never() -> Subject:
        raise AssertionError("nothing is built")

    measured = measure(_case("fullestgrad", "gradcam"), never, EFFORT, "cpu")

    assert (measured.status, measured.words) == (ABSENT, "no method fullestgrad")
    assert measure(_case("fullestgrad"), never, EFFORT, "cpu", in_time=False).status == ABSENT
    assert measure(_case("gradcam"), never, EFFORT, "cpu", in_time=False).status == OUT_OF_TIME


def test_a_keyword_that_does_not_exist_yet_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("camtool.benchmark.cases.CAM", lambda _: None)

    assert _case("gradcam", speed={"compile": True}).missing() == "CAM has no keyword speed"
    assert _case("gradcam").missing() == ""


def test_whatever_is_raised_stands_in_the_table() -> None:
    measured = measure(_case("gradcam"), lambda: subject(TINY, nn.Identity(), 2, 1, "cpu"), EFFORT, "cpu")

    assert measured.status == FAILED
    assert measured.words


class Clock:
    """Time that passes only when a contestant works."""

    def __init__(self) -> None:
        self.now = 0.0
        self.called: list[str] = []

    def perf_counter(self) -> float:
        return self.now

    def contestant(self, name: str, seconds: Iterator[float]) -> Callable[[], object]:
        def run() -> str:
            self.called.append(name)
            self.now += next(seconds)
            return name

        @contextmanager
        def entered() -> Iterator[Callable[[], str]]:
            yield run

        return entered


def test_ratios_are_of_the_same_round_and_everyone_starts_a_round_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(room, "time", clock)
    # A machine that becomes ten times slower: ratios of medians would be 20 and 2, not 2.
    contestants = {
        "forward": clock.contestant("forward", iter([1.0, 1.0, 10.0])),
        "camtool": clock.contestant("camtool", iter([2.0, 3.0, 20.0])),
    }

    timings = room._timings(contestants, dict.fromkeys(contestants, 1.0), Effort(3, 1000.0), "cpu")  # type: ignore[arg-type]

    assert clock.called == ["forward", "camtool", "camtool", "forward", "forward", "camtool"]
    assert timings["camtool"] == Timing(seconds=3.0, ratio=2.0, low=2.0, high=2.5, rounds=3)
    assert timings["forward"] == Timing(seconds=1.0, ratio=1.0, low=1.0, high=1.0, rounds=3)


def test_a_slow_peer_is_not_run_again_and_no_case_takes_much_longer_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(room, "time", clock)
    names = ("forward", "camtool", "slow", "fast")
    contestants = {name: clock.contestant(name, iter([1.0] * 20)) for name in names}

    timings = room._timings(contestants, {"forward": 1.0, "camtool": 1.0, "slow": 50.0, "fast": 1.0}, Effort(15, 8.0), "cpu")  # type: ignore[arg-type]

    assert timings["slow"] == Timing(seconds=50.0, ratio=50.0, low=50.0, high=50.0, rounds=1)
    assert timings["fast"].rounds == 2, "a quarter of the time is one peer's"
    assert timings["camtool"].rounds == timings["forward"].rounds == 4


def test_what_is_asked_in_forwards_or_of_the_better_peer() -> None:
    timings = {
        name: Timing(seconds, seconds / 2, 0.0, 0.0, 1) for name, seconds in [("forward", 2.0), ("camtool", 3.0), ("a", 4.0), ("b", 6.0)]
    }

    assert room._reached(_case("gradcam", unit=FORWARDS), timings) == 1.5
    assert room._reached(_case("gradcam", unit=PEERS), timings) == 0.75
    assert room._reached(_case("gradcam", unit=PEERS), {name: timings[name] for name in ("forward", "camtool")}) is None


def test_memory_is_compared_where_memory_is_asked(tiny: nn.Module) -> None:
    measured = measure(_case("gradcam", unit=MEMORY), _subject(tiny, batch=8), EFFORT, "cpu")

    assert set(measured.memory) == {"forward", "camtool", GRAD_CAM, TORCHCAM}
    assert measured.reached == measured.relative("camtool") == measured.memory["camtool"] / measured.memory["forward"]
    assert measured.memory[GRAD_CAM] > measured.memory["camtool"], "the whole graph is kept there"
    assert measured.timings == {}


def test_what_was_measured_survives_being_written(tiny: nn.Module) -> None:
    for unit in (FORWARDS, MEMORY):
        measured = measure(_case("gradcam", unit=unit), _subject(tiny), Effort(1, 0.0), "cpu")
        assert CaseResult.from_dict(measured.as_dict()) == measured


def test_no_two_cases_have_one_name_and_every_line_of_the_issue_is_there() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    assert {case.row for case in CASES} == {
        "gradcam, gradcam++, layercam, xgradcam, hirescam",
        "eigencam, eigengradcam, kpcacam",
        "five gradient methods of one batch",
        "ten classes of one batch",
        "aug-smooth",
        "fullgrad",
        "smoothgradcam++ (4 samples)",
        "ablationcam, 512 channels",
        "reciprocam",
        "scorecam, 512 channels",
        "scorecam, 512 channels, folded",
        "gradcam, compiled",
        "gradcam, bfloat16",
        "gradcam, peak memory",
    }


def test_the_networks_of_the_figures_are_torchvisions_and_ask_for_gradients() -> None:
    model = build("resnet18", "cpu")

    assert type(model).__module__ == "torchvision.models.resnet"
    assert not model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    norm = model.get_submodule("layer4.1.bn2")
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_mean.abs().amax() > 0, "settled on data"
