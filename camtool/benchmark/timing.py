"""Measure a case: contestants take turns, and times are ratios to the forward pass of the same round."""

import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import torch

from camtool.attribution.cam import CAM
from camtool.attribution.result import CAMResult
from camtool.benchmark.agreement import Agreement, with_eager, with_peer
from camtool.benchmark.cases import FORWARDS, MEMORY, PEERS, Case
from camtool.benchmark.memory import peak_bytes
from camtool.benchmark.networks import Subject
from camtool.benchmark.peers import AGREES, SETTINGS, peers_of
from camtool.errors import CamtoolWarning
from camtool.methods import build_method, reads_layers

OK, ABSENT, FAILED, OUT_OF_TIME = "ok", "not there yet", "failed", "out of time"
FORWARD, CAMTOOL = "forward", "camtool"


@dataclass(frozen=True)
class Effort:
    """Time limits of a case."""

    rounds: int
    """Most rounds; camtool and the forward pass are measured in each."""
    seconds: float
    """After this time no further round starts, but FEWEST_ROUNDS are always measured."""

    @property
    def per_peer(self) -> float:
        """Time limit of one peer, in seconds. If its warm-up takes longer, that is its only measurement."""
        return self.seconds / 4


FEWEST_ROUNDS = 3
QUICK, FULL = Effort(rounds=5, seconds=6.0), Effort(rounds=15, seconds=24.0)
QUICK_SECONDS = 90.0
"""After this time a quick run starts no further case."""


@dataclass(frozen=True)
class Timing:
    """Time of a contestant."""

    seconds: float
    """Median."""
    ratio: float
    """Median over rounds of its time divided by that of the forward pass; `low` and `high` are the quartiles."""
    low: float
    high: float
    rounds: int


@dataclass(frozen=True)
class CaseResult:
    """Result of a case."""

    case: str
    row: str
    network: str
    batch: int
    unit: str
    asked: float | None
    """The target; None: no target."""
    status: str
    words: str = ""
    """What is missing, or the error that was raised."""
    reached: float | None = None
    """Cost of camtool, in `unit`."""
    timings: dict[str, Timing] = field(default_factory=dict)
    agreements: dict[str, Agreement] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)
    """Peak memory in bytes, by contestant."""

    @property
    def differing(self) -> list[str]:
        """Contestants whose maps differ from camtool's although their formula is the same."""
        return [name for name, agreement in self.agreements.items() if not agreement.holds]

    def relative(self, name: str) -> float | None:
        """Return a contestant's time or memory divided by that of the forward pass; None if it was not measured."""
        if self.memory:
            return self.memory[name] / self.memory[FORWARD] if name in self.memory else None
        return self.timings[name].ratio if name in self.timings else None

    def as_dict(self) -> dict[str, Any]:
        """Return the result as a dict for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> "CaseResult":
        """Return the result of which `as_dict` is `saved`."""
        timings = {name: Timing(**timing) for name, timing in saved["timings"].items()}
        agreements = {name: Agreement(**agreement) for name, agreement in saved["agreements"].items()}
        return cls(**{**saved, "timings": timings, "agreements": agreements})


Run = Callable[[], Any]
Contestant = Callable[[], AbstractContextManager[Run]]


def measure(case: Case, subject: Callable[[], Subject], effort: Effort, device: str, *, in_time: bool = True) -> CaseResult:
    """Return the result of a case; any error is reported in its `words`.

    Args:
        subject: called for the subject, if the case is measured.
        in_time: False: do not measure, the time is over.
    """
    result = partial(CaseResult, case.name, case.row, case.network, case.batch, case.unit, case.asked)
    missing = case.missing()
    if missing:
        return result(ABSENT, missing)
    if not in_time:
        return result(OUT_OF_TIME)
    try:
        outcome = _measured(case, subject(), effort, device)
    except Exception as error:  # noqa: BLE001 - any error is reported in the table
        return result(FAILED, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
    return result(OK, **outcome)


def _measured(case: Case, subject: Subject, effort: Effort, device: str) -> dict[str, Any]:
    contestants: dict[str, Contestant] = {FORWARD: partial(_always, forward(subject)), CAMTOOL: partial(_always, explain(subject, case))}
    contestants |= {name: partial(peer, subject, case) for name, peer in peers_of(case).items()}
    warm = {name: _called(contestant, device) for name, contestant in contestants.items()}
    agreements = _agreements(case, subject, {name: maps for name, (_, maps) in warm.items()})
    if case.unit == MEMORY:
        memory = {}
        for name, contestant in contestants.items():
            with contestant() as run:
                memory[name] = peak_bytes(run, device)
        return {"agreements": agreements, "memory": memory, "reached": memory[CAMTOOL] / memory[FORWARD]}
    timings = _timings(contestants, {name: seconds for name, (seconds, _) in warm.items()}, effort, device)
    return {"agreements": agreements, "timings": timings, "reached": _reached(case, timings)}


def _timings(contestants: Mapping[str, Contestant], warm: Mapping[str, float], effort: Effort, device: str) -> dict[str, Timing]:
    rounds: list[dict[str, float]] = []
    spent = dict.fromkeys(contestants, 0.0)
    slow = [name for name, seconds in warm.items() if seconds > effort.per_peer and name not in (FORWARD, CAMTOOL)]
    order = [name for name in contestants if name not in slow]
    started = time.perf_counter()
    for number in range(effort.rounds):
        if number >= FEWEST_ROUNDS and time.perf_counter() - started > effort.seconds:
            break
        turn = number % len(order)  # rotate the order, which affects caches
        times = {}
        for name in order[turn:] + order[:turn]:
            if name in (FORWARD, CAMTOOL) or spent[name] < effort.per_peer:
                times[name], _ = _called(contestants[name], device)
                spent[name] += times[name]
        rounds.append(times)
    rounds[0] |= {name: warm[name] for name in slow}
    return {name: _timing([(times[name], times[name] / times[FORWARD]) for times in rounds if name in times]) for name in contestants}


def _timing(rounds: list[tuple[float, float]]) -> Timing:
    seconds, ratios = zip(*rounds, strict=True)
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    return Timing(statistics.median(seconds), middle, low, high, len(ratios))


def _called(contestant: Contestant, device: str) -> tuple[float, Any]:
    with contestant() as run:
        _wait(device)
        started = time.perf_counter()
        maps = run()
        _wait(device)
        return time.perf_counter() - started, maps


def seconds(run: Callable[[], Any]) -> float:
    """Return how long a call takes, without waiting for a GPU."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def _wait(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def _reached(case: Case, timings: Mapping[str, Timing]) -> float | None:
    if case.unit == FORWARDS:
        return timings[CAMTOOL].ratio
    assert case.unit == PEERS, "memory is measured elsewhere"
    peers = [timing.seconds for name, timing in timings.items() if name not in (FORWARD, CAMTOOL)]
    return timings[CAMTOOL].seconds / min(peers) if peers else None


def forward(subject: Subject) -> Run:
    """Return the reference: a plain forward pass in inference mode."""

    def run() -> Any:
        with torch.inference_mode():
            return subject.model(subject.inputs)

    return run


def explain(subject: Subject, case: Case) -> Callable[[], list[CAMResult]]:
    """Return camtool's computation of the maps (n, k, h, w) of each method."""
    options: dict[str, Any] = {"aug_smooth": case.aug_smooth} | ({"speed": dict(case.speed)} if case.speed else {})
    layer = subject.layer if any(reads_layers(build_method(name)) for name in case.methods) else None
    cam = CAM(subject.model, layer, [SETTINGS.get(name, name) for name in case.methods], **options)

    def run() -> list[CAMResult]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CamtoolWarning)  # with random weights a map may be negative everywhere
            return list(cam(subject.inputs, subject.classes).values())

    return run


@contextmanager
def _always(run: Run) -> Iterator[Run]:
    yield run


def _agreements(case: Case, subject: Subject, maps: Mapping[str, Any]) -> dict[str, Agreement]:
    compared = [name for name, methods in AGREES.items() if name in maps and set(case.methods) <= set(methods)]
    if case.speed:
        ranks = "amp" in case.speed
        eager = explain(subject, replace(case, speed={}))()
        return {"eager": with_eager(maps[CAMTOOL], eager, ranks=ranks)}
    agreements = {name: with_peer(maps[CAMTOOL], maps[name]) for name in compared}
    if not all(agreement.holds for agreement in agreements.values()):
        # Sums that nearly cancel, such as xgradcam's on a ViT, are dominated by rounding in float32; float64 compares the formulas.
        exact = subject.in_float64()
        ours = explain(exact, case)()
        for name, agreement in agreements.items():
            if not agreement.holds:
                with peers_of(case)[name](exact, case) as run:
                    agreements[name] = with_peer(ours, run(), precision="float64")
    return agreements
