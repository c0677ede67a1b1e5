"""The same random numbers for a network in several passes; torch's generators, which all threads share, stay as they are."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

Result = TypeVar("Result")

# Of the whole process, as the generators are: of two calls on different networks one would restore the other one's numbers.
_SEEDING = threading.RLock()


class SameRandomNumbers:
    """Runs functions of a network so that it draws the same random numbers in each, as for random masks and functional dropout.

    A network that draws none, as nearly all in eval mode, is run as it is. Else torch's generators are seeded and restored, one
    thread of camtool's at a time; random numbers that another thread of the user's draws meanwhile are seeded, too.

    Args:
        device: of the network's inputs.
        seed: of the numbers.

    Example:
        >>> import torch
        >>> from camtool.instrumentation.randomness import SameRandomNumbers
        >>> same = SameRandomNumbers(torch.device("cpu"), 0)
        >>> same(lambda: torch.rand(2)).equal(same(lambda: torch.rand(2)))
        True
    """

    def __init__(self, device: torch.device, seed: int) -> None:
        self._device = device
        self._seed = seed
        self._draws = False

    def __call__(self, run: Callable[[], Result]) -> Result:
        """Return what `run()` does; it may be called twice."""
        if not self._draws:
            before = self._states()
            result = run()
            if all(map(torch.equal, before, self._states())):
                return result
            result, self._draws = watched(run)  # the numbers may be those of another thread
            if not self._draws:
                return result
            self._restore(before)
        with self._seeded():
            return run()

    def _states(self) -> list[Tensor]:
        states = [torch.get_rng_state()]
        if self._device.type != "cpu":
            with self._current():
                states.append(self._module.get_rng_state())
        return states

    def _restore(self, states: list[Tensor]) -> None:
        torch.set_rng_state(states[0])
        for state in states[1:]:
            with self._current():
                self._module.set_rng_state(state)

    @contextmanager
    def _seeded(self) -> Iterator[None]:
        """Seed the generators of the CPU and of this device alone: `torch.manual_seed` would seed those of all devices."""
        with _SEEDING:
            before = self._states()
            try:
                torch.default_generator.manual_seed(self._seed)
                if self._device.type != "cpu":
                    with self._current():
                        self._module.manual_seed(self._seed)
                yield
            finally:
                self._restore(before)

    @property
    def _module(self) -> Any:
        return torch.get_device_module(self._device)

    def _current(self) -> AbstractContextManager[Any]:
        """Return a context in which this device is CUDA's current one, whose generator its functions mean."""
        return torch.cuda.device(self._device if self._device.type == "cuda" else None)


def watched(run: Callable[[], Result]) -> tuple[Result, bool]:
    """Return what `run()` does, and whether this thread has drawn from torch's own generators in it.

    Example:
        >>> import torch
        >>> from camtool.instrumentation.randomness import watched
        >>> watched(lambda: torch.ones(2))[1], watched(lambda: torch.rand(2))[1]
        (False, True)
    """
    with _Watching() as watching:
        result = run()
    return result, watching.has_drawn


class _Watching(TorchDispatchMode):
    """Notes, while entered, whether this thread draws random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.has_drawn = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded in func.tags:
            settings = {argument.name: argument.default_value for argument in func._schema.arguments}
            settings |= dict(zip(settings, args, strict=False)) | kwargs
            # Fused attention without dropout, and a random ReLU in eval mode, draw nothing; others may have a generator of their own.
            without = settings.get("dropout_p") == 0 or settings.get("training") is False or settings.get("generator") is not None
            self.has_drawn = self.has_drawn or not without
        return func(*args, **kwargs)
