"""The main job, step by step: picture, network, maps, figures, report."""

import inspect
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camtool.cli import options
from camtool.cli.command import Session
from camtool.errors import MethodError, OutputError, TargetError, closest

if TYPE_CHECKING:
    from camtool import CAM
    from camtool.attribution.result import CAMResult
    from camtool.cli.questions import Answers, Question
    from camtool.instrumentation.batching import Progress
    from camtool.models import Network

ALL = "all"


@dataclass(frozen=True)
class Request:
    """What the command line asked for; see `camtool vis --help`. The defaults are the options'."""

    image: Path
    wanted: options.Wanted
    target_layers: Sequence[str] = ()
    methods: Sequence[str] = ()
    categories: Sequence[str] = ()
    target: str | None = None
    against: str | None = None
    target_image: Path | None = None
    top_k: int | None = None
    components: int | None = None
    aug_smooth: bool = False
    eigen_smooth: bool = False
    fuse: str = ""
    vit_like: bool = False
    num_extra_tokens: int | None = None
    save_path: str | None = None
    save_raw: Path | None = None
    figure: str = "overlay"
    colormap: str = "jet"
    opacity: float = 0.5
    original: bool = False
    per_layer: bool = False
    show: bool = False
    as_json: bool = False
    debug: bool = False


@dataclass
class Explained:
    """The maps of one picture and all that figures and reports say of them."""

    request: Request
    network: "Network"
    inputs: Any
    """(1, c, h, w): what the network saw."""
    question: "Question"
    answers: "Answers"
    refused: dict[str, str]
    """By method of `--method all` that does not fit the network: why."""
    layers: list[str]
    """Target layers; empty where no method reads any."""
    reason: str
    """Why these target layers."""
    aug_smooth: bool
    eigen_smooth: bool
    seconds: dict[str, float]

    @property
    def results(self) -> dict[str, "CAMResult"]:
        """By method."""
        return self.answers.results

    @property
    def predicted(self) -> int:
        """The class that the network prefers."""
        return self.answers.ranking[0]

    def name(self, index: int) -> str | None:
        """Return a class's whole name; None where the classes have none."""
        return self.answers.names[index] if self.answers.names else None

    def shown(self, index: int) -> str:
        """Return a class's probability, or the number that it is, as text."""
        value = self.answers.by_class[index]
        return f"{value:.4g}" if self.answers.scale == "value" else f"{100 * value:.1f} %"

    def target_facts(self) -> dict[str, Any]:
        """Return what was asked of the network, as JSON and arrays tell it."""
        aims = self.answers.aims
        return {
            "name": self.question.name,
            **self.question.facts,
            "explains": [aim.words for aim in aims],
            "values": [round(aim.value, 6) for aim in aims],
        }


def explain(running: Session, request: Request) -> None:
    """Make the maps, write the files, print the report."""
    from camtool.cli import concepts
    from camtool.cli.progress import drawn_progress

    started = time.perf_counter()
    _check_output(request)
    if concepts.wanted(request):
        concepts.show_concepts(running, request)
        return
    from camtool.cli.questions import read_question
    from camtool.io.images import read_picture

    picture = read_picture(request.image)
    loaded = options.read_config(request.wanted, debug=request.debug)
    asked = cam_arguments(request, loaded.cam)  # a misspelt method, layout or target is found before a network is built
    question = read_question(request, loaded.cam)
    building = time.perf_counter()
    network = options.build(request.wanted, loaded)
    seconds_building = time.perf_counter() - building
    with drawn_progress() as progress:
        cam = make_cam(network, asked, progress)
        explained = explain_input(request, asked, cam, question, network, network.preprocess(picture))
    explained.seconds["load"] = seconds_building
    from camtool.cli import outputs, report

    drawn = outputs.draw(explained, picture)
    written = outputs.write(explained, drawn)
    explained.seconds["total"] = time.perf_counter() - started
    if request.as_json:
        report.print_json(running, explained, written)
    else:
        report.print_table(running, explained, written)
    if request.show:
        from camtool.cli.terminal import show

        by_caption = {" ".join(map(str, key)).strip(): single for key, single in drawn.single.items()}
        show(drawn.whole, by_caption, sys.stderr if request.as_json else running.output)


def _check_output(request: Request) -> None:
    """Raise before any work if a result could not be written or drawn as asked."""
    from camtool.cli.outputs import planned_paths
    from camtool.io.atomic import check_writable
    from camtool.visualization.figures import KINDS
    from camtool.visualization.overlay import check_style

    if request.figure not in KINDS:
        raise OutputError(f"Unknown figure '{request.figure}'{closest(request.figure, KINDS)}; expected one of: {', '.join(KINDS)}.")
    check_style(request.colormap, request.opacity)
    if request.categories and request.top_k:
        raise TargetError("Give either --target-category or --top-k, not both.")
    for path in planned_paths(request):
        check_writable(path)


def make_cam(network: "Network", asked: dict[str, Any], progress: "Progress | None" = None) -> "CAM":
    """Return what makes a network's maps, by the arguments of `cam_arguments`."""
    from camtool import CAM

    return CAM(network.model, **asked, input=network.source.picture_input, progress=progress)


def explain_input(request: Request, asked: dict[str, Any], cam: "CAM", question: "Question", network: "Network", inputs: Any) -> Explained:
    """Return what `network` answers to the question about one picture, preprocessed (1, c, h, w); `cam` was made as `asked`."""
    inputs = inputs.to(next(network.model.parameters()).device)
    answers = question.ask(cam, network, inputs)
    seconds = dict(next(iter(answers.results.values())).seconds)
    return Explained(
        request,
        network,
        inputs.cpu(),
        question,
        answers,
        cam.refused,
        cam.target_layers,
        cam.reason,
        asked["aug_smooth"],
        asked["eigen_smooth"],
        seconds,
    )


def cam_arguments(request: Request, recipe: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of CAM: the command line's, else the config's `cam`, else the defaults."""
    from camtool.fusion import build_fusion
    from camtool.instrumentation.acceleration import build_speed
    from camtool.layouts import build_layout
    from camtool.methods import build_methods, reads_layers

    layout = options.layout_of(recipe, vit_like=request.vit_like, num_extra_tokens=request.num_extra_tokens)
    methods = _with_parts(build_methods(_seeded(request) or recipe.get("method") or "gradcam"))
    if not any(reads_layers(method) for method in methods):  # what the recipe says of target layers is not about these
        recipe = {key: value for key, value in recipe.items() if key not in ("target_layers", "eigen_smooth")}
    return {
        "target_layers": list(request.target_layers) or recipe.get("target_layers"),
        "method": methods,
        "skip_unfit": wants_all(request),
        "layout": build_layout(layout),
        "aug_smooth": request.aug_smooth or recipe.get("aug_smooth", False),
        "speed": build_speed(recipe.get("speed")),
        "eigen_smooth": request.eigen_smooth or recipe.get("eigen_smooth", False),
        "fuse": build_fusion(request.fuse or recipe.get("fuse") or "mean"),
    }


def _with_parts(methods: dict[str, Any]) -> list[Any]:
    """Return the methods, before each that is a product what it is a product of: they are shown together."""
    from camtool.methods import InputMethod, build_method

    shown: dict[str, Any] = {}
    for name, method in methods.items():
        if isinstance(method, InputMethod) and method.base:
            for part in (method.base, "guidedbackprop"):
                shown.setdefault(part, methods.get(part) or build_method(part))
        shown.setdefault(name, method)
    return list(shown.values())


def wants_all(request: Request) -> bool:
    """Return whether every method that fits is asked for; MethodError where others are named beside."""
    if ALL not in [name.casefold() for name in request.methods]:
        return False
    if len(set(map(str.casefold, request.methods))) > 1:
        raise MethodError(f"'{ALL}' is every method that fits the network; ask for it alone.")
    return True


def every_method() -> list[str]:
    """Return the names of what `--method all` tries, family by family; those that take longest last, a user's own before them.

    Those that go around another method are left out: each would come as often as there are others.
    """
    from camtool.methods import family, find_method, method_names

    families = {name: family(find_method(name)) for name in method_names()}
    names = [name for name, kind in families.items() if kind != "wrapper"]
    return sorted(names, key=lambda name: (families[name] == "perturbation", families[name], name))


def _seeded(request: Request) -> list[Any]:
    """Return the methods of the command line, those that draw random numbers with its seed."""
    from camtool.methods import spec_of

    return [_with_seed(spec_of(name), request.wanted.seed) for name in (every_method() if wants_all(request) else request.methods)]


def _with_seed(spec: dict[str, Any], seed: int) -> dict[str, Any]:
    from camtool.methods import find_method

    draws = {"seed": seed} if "seed" in inspect.signature(find_method(spec["type"])).parameters else {}
    inner = {"method": _with_seed(spec["method"], seed)} if "method" in spec else {}
    return {**spec, **draws, **inner}
