"""What torch keeps once for all threads stays as it is while a thread explains."""

import sys
import threading
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from camtool import CAM
from camtool.instrumentation.randomness import SameRandomNumbers
from tests.methods.attention.networks import plain_vit
from tests.networks import images, small_net
from tests.threads_on_one_model import FORMS, explain_in_threads

pytestmark = pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")


@pytest.fixture
def switching_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.usefixtures("switching_often")
def test_maps_of_threads_on_one_network_by_any_method_are_those_of_one_thread(kind: str) -> None:
    figures = explain_in_threads(kind, seconds=0, threads=3)
    assert not figures.errors
    assert figures.maps >= 3 * len(FORMS[kind][1])
    assert figures.inferences
    assert figures[1::2] == (0, 0), "maps that are wrong, inferences that were touched"


def kernels() -> tuple[bool, ...]:
    backends = torch.backends.cuda
    return backends.flash_sdp_enabled(), backends.mem_efficient_sdp_enabled(), backends.math_sdp_enabled(), backends.cudnn_sdp_enabled()


@pytest.mark.parametrize("method", ["shapleycam", "legrad", "gradcam"])
def test_the_choice_of_attention_kernels_is_left_to_other_threads(method: str) -> None:
    model, seen = plain_vit(double=False), []
    expected = kernels()
    model.blocks[1].register_forward_hook(lambda *_: seen.append(kernels()))
    CAM(model, "blocks[-1].norm1" if method != "legrad" else None, method)(images(), 1)
    assert seen
    assert set(seen) == {expected}


def test_random_numbers_of_another_thread_are_its_own() -> None:
    drawn: list[Tensor] = []
    done = threading.Event()

    def draw() -> None:
        while not done.is_set() or len(drawn) < 1000:
            drawn.append(torch.rand(1))

    thread, models = threading.Thread(target=draw), [plain_vit(double=False) for _ in range(2)]  # not known yet: they are measured
    torch.manual_seed(0)
    thread.start()
    try:
        for model in models:
            CAM(model, "blocks[1]", placement="measured")(images(), 1)
    finally:
        done.set()
        thread.join()
    torch.manual_seed(0)
    assert torch.equal(torch.cat(drawn), torch.cat([torch.rand(1) for _ in drawn]))


class Noisy(nn.Module):
    """Draws a mask for itself in eval mode, too."""

    def __init__(self) -> None:
        super().__init__()
        self.net = small_net()

    def forward(self, pictures: Tensor) -> Tensor:
        return self.net(pictures * torch.bernoulli(torch.full_like(pictures, 0.5)))


def test_a_network_that_draws_random_numbers_has_the_same_in_every_pass_and_leaves_the_generator() -> None:
    model, pictures = Noisy().eval(), images()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    same = SameRandomNumbers(torch.device("cpu"), 3)
    first, second = (same(lambda: model(pictures)) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(3)
    assert torch.equal(model(pictures), first)


def test_numbers_that_another_thread_draws_are_not_taken_for_those_of_the_network() -> None:
    model, pictures = small_net(), images()

    def run() -> Tensor:
        thread = threading.Thread(target=torch.rand, args=(1,))
        thread.start()
        thread.join()
        return model(pictures)

    torch.manual_seed(5)
    same = SameRandomNumbers(torch.device("cpu"), 3)
    expected = model(pictures)
    assert torch.equal(same(run), expected)
    after = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(after, torch.stack([torch.rand(1) for _ in range(3)])[-1])
