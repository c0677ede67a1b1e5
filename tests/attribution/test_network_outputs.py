"""Networks that return several scores: which of them targets, predictions and maps mean."""

import random
from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from camtool import CAM, deep_feature_factorization
from camtool.errors import CamtoolWarning, TargetError
from camtool.instrumentation.embedding import EmbeddingOutput
from camtool.instrumentation.inputs import find_inputs
from camtool.targets import EmbeddingSimilarity, explained_output
from tests.shared_networks import CHANNELS, Reusing, by_head, convolutions, pictures

pytestmark = pytest.mark.filterwarnings("ignore:.*no positive evidence:camtool.errors.CamtoolWarning")  # of random weights
METHODS = ["gradcam", "layercam", "cam", "ablationcam", "scorecam", "finer", "fullgrad"]
Pair = namedtuple("Pair", ["age", "race"])


@dataclass
class Answers:
    """What some networks return."""

    age: Tensor
    race: Any


class Tasks(nn.Module):
    """A body and one head a task; `arrange` puts their scores into what is returned."""

    def __init__(self, widths: list[int], arrange: Any, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Sequential(nn.Conv2d(3, CHANNELS, 3, stride=2), nn.ReLU())
        self.heads = nn.ModuleList(nn.Linear(CHANNELS, width) for width in widths)
        self.arrange = arrange
        self.eval()

    def forward(self, images: Tensor) -> Any:
        features = self.body(images).mean((2, 3))
        return self.arrange([head(features) for head in self.heads])


FORMS: list[tuple[Any, list[Any]]] = [
    (lambda scores: dict(zip("abc", scores, strict=False)), ["a", "b", "c"]),
    (tuple, [0, "1", -1]),
    (lambda scores: [scores[0], {"x": scores[1], "y": (scores[2],)}], ["0", "1.x", ("1", "y", 0)]),
    (lambda scores: Pair(scores[0], scores[1:]), ["age", "race.0", "race.-1"]),
    (lambda scores: Answers(scores[0], {"this": scores[1], "that.one": scores[2]}), ["age", ("race", "this"), "race.that.one"]),
    (lambda scores: {"first": scores[0], 7: scores[1], "rest": scores[2:]}, [0, 7, "rest"]),
]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("form", range(len(FORMS)))
def test_the_map_of_an_output_is_that_of_the_network_with_this_head_alone(form: int, seed: int) -> None:
    choose = random.Random(10 * form + seed)
    widths = [choose.randint(2, 5) for _ in range(3)]
    arrange, names = FORMS[form]
    network, head = Tasks(widths, arrange, seed), choose.randrange(3)
    alone = Tasks(widths, lambda scores: scores[head], seed)
    expected = CAM(alone, "body", METHODS, aug_smooth=bool(seed))(pictures(), widths[head] - 1)
    found = CAM(network, "body", METHODS, output=names[head], aug_smooth=bool(seed))(pictures(), widths[head] - 1)
    for method, result in found.items():
        torch.testing.assert_close(result.maps, expected[method].maps)
        assert result.predicted == expected[method].predicted
        assert result.logits.shape == (2, widths[head])
        assert list(result.outputs.values()) == [(width,) for width in widths]
        assert list(result.outputs)[head] == result.output


@pytest.mark.parametrize("widths", [[4, 4, 4], [1, 2, 5]])
def test_without_a_name_the_first_is_explained_and_the_others_are_named(widths: list[int]) -> None:
    network = Tasks(widths, FORMS[0][0])
    words = rf"scores of {', '.join(map(str, widths))} classes; the maps explain the first, output 'a'.*: 'b' \({widths[1]}\), 'c' \("
    with pytest.warns(CamtoolWarning, match=words) as caught:
        result = CAM(network, "body", METHODS[:2])(pictures(), 0)["gradcam"]
    assert len([warning for warning in caught if "explain the first" in str(warning.message)]) == 1
    assert (result.output, result.outputs) == ("a", {name: (width,) for name, width in zip("abc", widths, strict=True)})


@pytest.mark.filterwarnings("error")
def test_a_network_that_names_its_scores_needs_no_remark() -> None:
    network = Tasks([3, 3, 3], lambda scores: {"aux": scores[0], "logits": scores[1], "features": scores[2][:, :, None, None]})
    result = CAM(network, "body")(pictures(), 0)
    assert (result.output, list(result.outputs)) == ("logits", ["aux", "logits", "features"])
    alone = CAM(Tasks([3, 3, 3], lambda scores: scores[1]), "body")(pictures(), 0)
    torch.testing.assert_close(result.raw["body"], alone.raw["body"])
    assert (alone.output, alone.outputs) == ("", {})


@pytest.mark.parametrize(
    ("arrange", "name", "words"),
    [
        (FORMS[0][0], "rase", "No output 'rase' in what the network returns; expected one of: 'a' .2, 2., 'b' .2, 3., 'c' .2, 4."),
        (FORMS[2][0], "1.z", "expected one of: '0' .2, 2., '1', '1.x' .2, 3., '1.y', '1.y.0' .2, 4."),
        (lambda scores: Answers(*scores[:2]), "raze", "closest: 'race'"),
        (tuple, 3, "No output 3"),
        (lambda scores: scores[0], "a", "returns a single one; leave output"),
        (lambda scores: {"a": scores[0], "sizes": torch.tensor([1, 2, 3])}, "sizes", "No scores of 2 samples"),
    ],
)
def test_an_output_that_does_not_exist_is_refused_with_the_names_of_all(arrange: Any, name: Any, words: str) -> None:
    with pytest.raises(TargetError, match=words):
        CAM(Tasks([2, 3, 4], arrange), "body", output=name)(pictures(), 0)


@pytest.mark.parametrize("head", [0, 1, 2])
def test_an_output_of_a_reused_block_is_explained_at_the_last_call_that_it_needs(head: int) -> None:
    network = Reusing(3, by_head, convolutions)
    name = "first" if head == 0 else f"others.task{head}"
    with pytest.warns(CamtoolWarning, match=f"call={head} is explained"):
        result = CAM(network, "block", "layercam", output=name)(pictures(), 1)
    expected = CAM(network.unrolled(), f"blocks[{head}]", "layercam", output=name)(pictures(), 1)
    torch.testing.assert_close(result.maps, expected.maps)
    assert (result.output, result.calls) == (name, {"block": head})


def test_the_default_layer_is_one_that_the_output_depends_on() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.early, self.late, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(4, 3)

        def forward(self, images: Tensor) -> dict[str, Tensor]:
            early = self.early(images).relu()
            return {"early": self.head(early.mean((2, 3))), "late": self.head(self.late(early).mean((2, 3)))}

    assert CAM(Branches(), output="early")(pictures(), 0).layers == ["early"]
    assert CAM(Branches(), output="late")(pictures(), 0).layers == ["late"]


def test_concepts_have_the_classes_of_the_output() -> None:
    network = Tasks([3, 5, 2], FORMS[0][0])
    concepts = deep_feature_factorization(network, pictures(), 2, target_layer="body", output="b")
    alone = deep_feature_factorization(Tasks([3, 5, 2], lambda scores: scores[1]), pictures(), 2, target_layer="body")
    torch.testing.assert_close(concepts.scores, alone.scores)


def test_the_embedding_is_that_of_the_output() -> None:
    network, reference = Tasks([3, 5, 2], FORMS[1][0]), find_inputs(pictures(1, seed=9), output="1")
    with EmbeddingOutput(network, reference) as embedding:
        result = CAM(network, "body", output="1")(pictures(), EmbeddingSimilarity(embedding.reference))
    assert embedding.source == "input of 'heads.1'"
    assert result.output == "1"


def test_a_batch_of_one_that_a_head_squeezed_away_is_put_back() -> None:
    network = Tasks([1, 3], lambda scores: {"age": scores[0].squeeze(), "race": scores[1]})
    result = CAM(network, "body", output="age")(pictures(1), 0)
    expected = CAM(Tasks([1, 3], lambda scores: scores[0]), "body")(pictures(1), 0)
    torch.testing.assert_close(result.raw["body"], expected.raw["body"])


@dataclass(frozen=True)
class Features:
    """What a layer may return."""

    size: int
    maps: Tensor


class Wrapped(nn.Module):
    """A layer that returns a dataclass."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, images: Tensor) -> Features:
        maps = self.layer(images)
        return Features(maps.shape[-1], maps)


def test_a_layer_may_return_a_dataclass() -> None:
    class Net(nn.Module):
        def __init__(self, wraps: bool) -> None:
            super().__init__()
            torch.manual_seed(0)
            layer = nn.Conv2d(3, CHANNELS, 3)
            self.layer, self.head = Wrapped(layer) if wraps else layer, nn.Linear(CHANNELS, 3)

        def forward(self, images: Tensor) -> Tensor:
            features = self.layer(images)
            maps = features.maps if isinstance(features, Features) else features
            return self.head(maps.relu().mean((2, 3)))

    methods = ["gradcam", "ablationcam", "eigencam"]
    expected = CAM(Net(wraps=False), "layer", methods)(pictures(), 1)
    for method, result in CAM(Net(wraps=True), "layer", methods)(pictures(), 1).items():
        torch.testing.assert_close(result.raw["layer"], expected[method].raw["layer"])


def test_dense_outputs_of_several_tasks_are_named() -> None:
    output = {"depth": torch.zeros(2, 1, 4, 4), "parts": torch.zeros(2, 7, 4, 4)}
    explained = explained_output(output, batch=2)
    assert (explained.name, explained.rivals) == ("depth", ("depth", "parts"))
    assert "2 outputs of one kind; the maps explain the first, output 'depth'" in explained.remark
    assert "'parts' (7x4x4)" in explained.remark
