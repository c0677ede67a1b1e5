"""Calls of several threads do not meet in a network, and an interruption at any line of a call leaves nothing in it."""

import gc
import random
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
import torch.utils.checkpoint
from torch import Tensor, nn

from camtool import CAM, deep_feature_factorization
from camtool.instrumentation import calls, checkpointing
from camtool.instrumentation.calls import only_call
from camtool.instrumentation.embedding import EmbeddingOutput
from camtool.instrumentation.inputs import Inputs, find_inputs
from camtool.targets import EmbeddingSimilarity
from tests.methods.test_no_trace import assert_same, state

pytestmark = pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")
PACKAGE = str(Path(calls.__file__).resolve().parents[1])


class Net(nn.Module):
    """Partly in train mode, so that flags are changed during a call."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.early, self.norm = nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4)
        self.layer, self.drop, self.fc = nn.Conv2d(4, 4, 3, 2, 1), nn.Dropout(0.5), nn.Linear(4, 3)

    def forward(self, image: Tensor) -> Tensor:
        return self.fc(self.drop(self.layer(self.norm(self.early(image)).relu()).relu()).mean((2, 3)))


class KeepingLayer(nn.Conv2d):
    """Keeps its output on itself, and in a dict of another module's."""

    kept: Tensor | None = None

    def __init__(self, of_network: dict[str, Tensor]) -> None:
        super().__init__(4, 4, 3, 2, 1)
        self.of_network = of_network

    def forward(self, features: Tensor) -> Tensor:
        self.kept = self.of_network["layer"] = super().forward(features)
        return self.kept


class Keeping(Net):
    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, Tensor] = {}
        self.layer = KeepingLayer(self.kept)

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image) + self.fc(self.kept["layer"].mean((2, 3))) * self.layer.kept.mean((1, 2, 3), keepdim=True).flatten(1)


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patches, self.fc = nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 3)
        self.blocks = nn.ModuleList(nn.TransformerEncoderLayer(8, 2, 8, batch_first=True, norm_first=True) for _ in range(2))

    def forward(self, image: Tensor) -> Tensor:
        tokens = self.patches(image).flatten(2).transpose(1, 2)
        for block in self.blocks:
            tokens = block(tokens)
        return self.fc(tokens.mean(1))


def picture(seed: int = 0) -> Tensor:
    return torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


@contextmanager
def traced(at: Callable[[str, int], None]) -> Iterator[None]:
    """Call `at(file, line)` before every line of camtool."""

    def local(frame: FrameType, event: str, _: Any) -> Any:
        if event == "line":
            at(frame.f_code.co_filename, frame.f_lineno)
        return local

    def start(frame: FrameType, *_: Any) -> Any:
        return local if frame.f_code.co_filename.startswith(PACKAGE) else None

    def trace_again(*_: Any) -> None:
        if sys.gettrace() is None:  # Python stops tracing when a trace function raises
            sys.settrace(start)

    before = sys.gettrace(), sys.getprofile()
    sys.setprofile(trace_again)
    sys.settrace(start)
    try:
        yield
    finally:
        sys.setprofile(before[1])  # first: it would trace again
        sys.settrace(before[0])


def modes() -> tuple[Any, ...]:
    autocast = [(torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in ("cpu", "cuda")]
    attention = (torch.backends.cuda.flash_sdp_enabled(), torch.backends.cuda.mem_efficient_sdp_enabled())
    torch.autocast_increment_nesting()
    levels = torch.autocast_decrement_nesting()
    return torch._C._len_torch_function_stack(), autocast, levels, attention, torch.is_inference_mode_enabled()


CASES = [
    (Net, "gradcam", "layer"),
    (Net, "eigencam", "layer"),
    (Net, "ablationcam", "layer"),
    (Net, "shapleycam", "layer"),
    (Net, ["fullgrad", "guidedbackprop"], None),
    (Transformer, "legrad", None),
]


def _cam(model: nn.Module, method: Any, layer: str | None) -> Callable[[], Any]:
    cam = CAM(model, layer, method)
    return lambda: cam(picture(), 1)


def _concepts(model: nn.Module) -> Callable[[], Any]:
    return lambda: deep_feature_factorization(model, picture(), 2, target_layer="layer", iterations=2)


def _similarity(model: nn.Module) -> Callable[[], Any]:
    cam, inputs = CAM(model, "layer"), find_inputs(picture(1))

    def call() -> None:
        with only_call(model), EmbeddingOutput(model, inputs) as embedding:
            cam(picture(), EmbeddingSimilarity(embedding.reference))

    return call


CALLS: dict[str, tuple[type[nn.Module], Callable[[nn.Module], Callable[[], Any]]]] = {
    str(method): (make, partial(_cam, method=method, layer=layer)) for make, method, layer in CASES
}
CALLS |= {
    "kept, gradcam": (Keeping, partial(_cam, method="gradcam", layer="layer")),
    "kept, ablationcam": (Keeping, partial(_cam, method="ablationcam", layer="layer")),
    "concepts": (Net, _concepts),
    "similarity": (Net, _similarity),
}


def _lines(call: Callable[[], Any]) -> dict[tuple[str, int], int]:
    """Return for each line of camtool that a call reaches when it is reached last, as a number of lines."""
    lines: dict[tuple[str, int], int] = {}
    count = 0

    def note(*line: Any) -> None:
        nonlocal count
        count += 1
        lines[line] = count

    gc.collect()
    gc.disable()  # a collection in the middle ends what an earlier test left: lines that no later call reaches
    try:
        with traced(note):
            call()
    finally:
        gc.enable()
    return lines


def _interrupted(call: Callable[[], Any], stops: Collection[int]) -> int:
    """Return the number of lines of a call that is interrupted at these ones, with what is done at its end; 0 if it is not interrupted."""
    count = 0

    def interrupt(*_: Any) -> None:
        nonlocal count
        count += 1
        if count in stops:
            raise KeyboardInterrupt

    try:
        with traced(interrupt):
            call()
    except KeyboardInterrupt:
        return count
    return 0


def _kept(model: nn.Module) -> list[Tensor]:
    return [*model.kept.values(), model.layer.kept] if isinstance(model, Keeping) else []


def _prepared(name: str) -> tuple[nn.Module, Callable[[], Any], dict[tuple[str, int], int]]:
    """Return a network, a call on it that has been made before, and its lines."""
    make, calling = CALLS[name]
    model = make().train()
    call = calling(model)
    call()
    lines = _lines(call)
    assert len(lines) > 150
    return model, call, lines


def _check_interruptions(name: str, share: int) -> None:
    """Interrupt a call at every `share`-th line, and compare the network with that from before."""
    model, call, lines = _prepared(name)
    before, modes_before = state(model), modes()
    stops = list(lines.values())
    random.Random(0).shuffle(stops)
    for stop in stops[: len(stops) // share]:
        # A call after an interruption may take some lines less, since torch's class is still replaced; one after a whole call does not.
        assert _interrupted(call, {stop}) or _interrupted(call, {stop}), "the line is not reached again"
        assert_same(before, state(model))
        assert modes() == modes_before
        assert not [tensor for tensor in _kept(model) if tensor.requires_grad]
    gc.collect()
    assert_same(before, state(model))
    assert not [reference for reference in calls._CALLS if reference() is not None], "another thread would wait for ever"
    call()
    assert not calls._CALLS
    assert not checkpointing._DIRECT.passes
    assert torch.utils.checkpoint.CheckpointFunction is not checkpointing._DIRECT, "torch's own class is kept out for ever"


@pytest.mark.parametrize("name", CALLS)
def test_an_interruption_leaves_nothing(name: str) -> None:
    _check_interruptions(name, share=20)


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_an_interruption_at_any_line_leaves_nothing(name: str) -> None:
    _check_interruptions(name, share=1)


def test_an_interruption_of_what_an_interruption_left_to_do_leaves_nothing() -> None:
    model, call, lines = _prepared("kept, gradcam")
    before = state(model)
    source = Path(calls.__file__).read_text(encoding="utf-8").splitlines()
    # The last line of restoring what is kept: it is left to what is done at the end, whose lines are interrupted, too.
    stop = next(stop for (path, line), stop in lines.items() if path == calls.__file__ and "write(put.before)" in source[line - 1])
    total = _interrupted(call, {stop})
    assert total - stop > 100
    for again in range(stop + 1, total, 11):
        assert _interrupted(call, {stop, again})
        assert_same(before, state(model))
        assert not [tensor for tensor in _kept(model) if tensor.requires_grad]


def test_out_of_memory_while_entering_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, image = Net().eval(), picture()
    cam = CAM(model, method=["fullgrad", "guidedbackprop"])
    cam(image, 1)
    before, modes_before, with_picture = state(model), modes(), Inputs.with_picture

    def failing(self: Inputs, tensor: Tensor) -> Inputs:
        if tensor.requires_grad:
            raise torch.OutOfMemoryError("no memory for the clone of the leaf")
        return with_picture(self, tensor)

    monkeypatch.setattr(Inputs, "with_picture", failing)
    with pytest.raises(torch.OutOfMemoryError):
        cam(image, 1)
    assert_same(before, state(model))
    assert modes() == modes_before


@contextmanager
def switching_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def in_threads(*works: Callable[[], None]) -> None:
    errors: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    with switching_often():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]


@pytest.mark.parametrize("method", ["gradcam", "eigencam", "ablationcam"])
def test_calls_of_several_threads_on_one_network_give_the_maps_of_one_thread(method: str) -> None:
    model = Net().train()
    expected = [CAM(model, "layer", method)(picture(number), 1).raw["layer"] for number in range(4)]
    before = state(model)

    def work(number: int) -> None:
        cam = CAM(model, "layer", method)
        for _ in range(8):
            torch.testing.assert_close(cam(picture(number), 1).raw["layer"], expected[number])

    in_threads(*(lambda number=number: work(number) for number in range(4)))  # type: ignore[misc]
    assert_same(before, state(model))


@pytest.mark.parametrize(("make", "method", "layer"), CASES, ids=lambda value: str(value)[:30])
def test_inference_of_the_users_own_beside_a_call_is_not_touched(make: type[nn.Module], method: Any, layer: str | None) -> None:
    model, image = make().eval(), picture()
    expected, done = model(image).detach(), threading.Event()

    def infer() -> None:
        torch.set_grad_enabled(False)
        while not done.is_set():
            found = model(image)
            assert not found.requires_grad
            assert not torch.is_grad_enabled()
            torch.testing.assert_close(found, expected)

    def explain() -> None:
        try:
            cam = CAM(model, layer, method)
            for _ in range(5):
                cam(picture(1), 1)
        finally:
            done.set()

    in_threads(infer, explain)


def test_a_call_inside_a_call_does_not_wait_for_itself() -> None:
    model = Net().eval()
    inner = CAM(model, "layer")
    outer = CAM(model, "layer", "ablationcam", progress=lambda *_: inner(picture(), 1) and None)
    torch.testing.assert_close(outer(picture(1), 1).maps, CAM(model, "layer", "ablationcam")(picture(1), 1).maps)


def test_a_call_on_a_part_of_a_network_waits_for_one_on_the_whole() -> None:
    model, order = Net(), list[str]()
    inside = threading.Event()

    def whole() -> None:
        with only_call(model):
            inside.set()
            threading.Event().wait(0.1)
            order.append("whole")

    def part() -> None:
        inside.wait()
        with only_call(Net()):
            order.append("other")
        with only_call(model.layer):
            order.append("part")

    in_threads(whole, part)
    assert order == ["other", "whole", "part"]
