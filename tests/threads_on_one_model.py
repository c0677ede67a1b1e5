"""Ten threads explain pictures by one network, each by methods in an order of its own, beside inference of the user's; maps are compared.

`python -m tests.threads_on_one_model --seconds 60`
"""

import argparse
import random
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from camtool import CAM
from camtool.errors import CamtoolWarning
from tests.methods.attention.networks import plain_vit
from tests.networks import images, small_net

FORMS: dict[str, tuple[Callable[[], nn.Module], list[tuple[str, dict[str, Any]]]]] = {
    "convolutions": (
        small_net,
        [
            *((method, {"target_layers": ["early", "late"]}) for method in ("gradcam", "eigencam", "scorecam", "shapleycam", "liftcam")),
            ("ablationcam", {"target_layers": "late"}),
            ("layercam", {"target_layers": "early", "aug_smooth": True}),
            ("smoothgradcam++", {"target_layers": "early"}),
            ("hirescam", {"target_layers": "early", "placement": "measured"}),
            ("gradcam++", {}),
            ("fullgrad", {}),
            ("guidedbackprop", {"aug_smooth": True}),
        ],
    ),
    "attention": (
        lambda: plain_vit(double=False),
        [
            *((method, {}) for method in ("rollout", "gradrollout", "genericattention", "legrad")),
            ("legrad", {"aug_smooth": True}),
            *((method, {"target_layers": "blocks[-1].norm1"}) for method in ("gradcam", "shapleycam", "reciprocam", "cdam")),
        ],
    ),
}


class Figures(NamedTuple):
    """What was counted."""

    maps: int
    wrong: int
    """Maps that differ from those of one thread."""
    inferences: int
    touched: int
    """Outputs of the user's own inference that differ, or have a graph."""
    errors: list[str]


def explain_in_threads(kind: str, *, seconds: float, threads: int = 10) -> Figures:
    """Return what `threads` threads found on one network of this kind in so many seconds; each explains every form at least once."""
    make, forms = FORMS[kind]
    model, pictures = make().eval(), [images(seed=seed) for seed in range(threads)]
    expected = [[CAM(model, method=method, **settings)(picture, 1).maps for method, settings in forms] for picture in pictures]
    outputs = [model(picture).detach() for picture in pictures]
    end, errors = time.monotonic() + seconds, list[str]()
    maps, inferences = [0] * threads, [0, 0]
    wrong = [0] * threads
    done = threading.Event()

    def explain(number: int) -> None:
        order, shuffled = list(range(len(forms))), random.Random(number)
        while not maps[number] or time.monotonic() < end:
            shuffled.shuffle(order)
            for form in order:
                method, settings = forms[form]
                found = CAM(model, method=method, **settings)(pictures[number], 1).maps
                wrong[number] += not _same(found, expected[number][form])
                maps[number] += 1
                if maps[number] >= len(forms) and time.monotonic() >= end:
                    return

    def infer() -> None:
        torch.set_grad_enabled(False)
        while not done.wait(0.001):
            for picture, output in zip(pictures, outputs, strict=True):
                found = model(picture)
                inferences[0] += 1
                inferences[1] += found.requires_grad or torch.is_grad_enabled() or not _same(found, output)

    def guarded(work: Callable[..., None], *arguments: Any) -> None:
        try:
            work(*arguments)
        except BaseException as error:  # noqa: BLE001 - told below
            errors.append(f"{type(error).__name__}: {error}")

    explaining = [threading.Thread(target=guarded, args=(explain, number)) for number in range(threads)]
    inferring = threading.Thread(target=guarded, args=(infer,))
    for thread in (inferring, *explaining):
        thread.start()
    for thread in explaining:
        thread.join()
    done.set()
    inferring.join()
    return Figures(sum(maps), sum(wrong), inferences[0], inferences[1], errors)


def _same(found: Tensor, expected: Tensor) -> bool:
    return found.shape == expected.shape and bool(torch.allclose(found, expected, rtol=1e-4, atol=1e-5))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for each kind of network")
    parser.add_argument("--threads", type=int, default=10)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", CamtoolWarning)
    for kind in FORMS:
        print(kind, explain_in_threads(kind, seconds=arguments.seconds, threads=arguments.threads))


if __name__ == "__main__":
    main()
