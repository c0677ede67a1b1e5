"""A network's embedding in place of its scores, found by what its layers give."""

import pytest
import torch
from torch import Tensor, nn

from camtool import CAM
from camtool.errors import LayerError, TargetError
from camtool.instrumentation.embedding import EmbeddingOutput
from camtool.instrumentation.inputs import find_inputs
from camtool.targets import EmbeddingSimilarity, resolve_targets
from tests.networks import images, small_net


class Headed(nn.Module):
    """A pooled embedding of two channels, and a head that is told apart by what it gives only."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.features = nn.Conv2d(2, 2, 1, bias=False)
        with torch.no_grad():
            self.features.weight.copy_(torch.eye(2).view(2, 2, 1, 1))
        self.decoy = nn.Linear(2, 3)
        self.last = nn.Linear(2, 3)
        self.kind = kind

    def forward(self, images: Tensor) -> object:
        pooled = self.features(images).mean(dim=(2, 3))
        scores, decoy = self.last(input=pooled), self.decoy(pooled)
        if self.kind == "scaled":
            return scores / 2
        if self.kind == "mean of two":
            return (scores + decoy) / 2
        return {"tensor": scores, "dict": {"logits": scores.clone()}, "narrow": scores.double()}[self.kind]


def two_things() -> Tensor:
    """Return a picture with one thing of the first channel at the left, and one of the second at the right."""
    picture = torch.zeros(1, 2, 8, 8)
    picture[0, 0, 2:4, 1:3] = 1
    picture[0, 1, 4:7, 5:7] = 1
    return picture


def first_thing() -> Tensor:
    return two_things() * torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)


def test_similarity_by_hand() -> None:
    embedding = torch.tensor([3.0, 4.0], requires_grad=True)

    value = EmbeddingSimilarity(torch.tensor([2.0, 0.0]))(embedding)

    assert value.item() == pytest.approx(0.6)
    (gradient,) = torch.autograd.grad(value, embedding)
    assert gradient.tolist() == pytest.approx([16 / 125, -12 / 125])  # e/|r||e| - cos * e/|e|^2


@pytest.mark.parametrize("reference", [torch.zeros(3), torch.tensor([1.0, float("nan")]), torch.ones(1, 3)])
def test_a_reference_that_nothing_is_similar_to_is_refused(reference: Tensor) -> None:
    with pytest.raises(TargetError, match=r"zero or not finite|one vector \(c\), got shape \(1, 3\)"):
        EmbeddingSimilarity(reference)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (torch.zeros(1, 4), r"has 2 numbers, the network's output is \(1, 4\)"),
        (torch.zeros(1, 2, 3), r"output is \(1, 2, 3\)"),
        (torch.tensor([[30.0, 30.0]]), "the reference's own"),
    ],
)
def test_an_output_that_cannot_become_more_similar_is_refused(outputs: Tensor, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        resolve_targets(EmbeddingSimilarity(torch.ones(2)), outputs)


@pytest.mark.parametrize("kind", ["tensor", "dict", "narrow"])
def test_the_embedding_is_what_the_layer_that_gives_the_scores_gets(kind: str) -> None:
    embedding = EmbeddingOutput(Headed(kind), find_inputs(two_things()))

    assert embedding.source == "input of 'last'"
    assert embedding.reference.tolist() == pytest.approx([4 / 64, 6 / 64])


@pytest.mark.parametrize("kind", ["scaled", "mean of two"])
def test_scores_that_no_linear_layer_gives_are_their_own_embedding(kind: str) -> None:
    model = Headed(kind)

    with EmbeddingOutput(model, find_inputs(first_thing())) as embedding:
        assert torch.equal(model(two_things()), Headed.forward(model, two_things()))

    assert embedding.source == "scores"
    assert torch.equal(embedding.reference, model(first_thing())[0].detach())
    assert embedding.logits == {}


def test_the_map_lies_on_what_the_pictures_have_in_common() -> None:
    model, picture = Headed("tensor"), two_things()

    with EmbeddingOutput(model, find_inputs(first_thing())) as embedding:
        result = CAM(model, "features", method="layercam")(picture, EmbeddingSimilarity(embedding.reference))

    assert torch.equal(result.raw["features"][0] > 0, picture[0, 0] > 0)
    assert result.logits[0].tolist() == pytest.approx([4 / 64, 6 / 64])
    assert torch.equal(embedding.logits[len(picture)], model(picture).detach())


def test_every_method_and_smoothing_and_batches_go_through_the_same_road() -> None:
    model, pictures = small_net(), images(count=3)

    with EmbeddingOutput(model, find_inputs(pictures[:1])) as embedding:
        target = EmbeddingSimilarity(embedding.reference)
        both = CAM(model, method=["gradcam", "eigencam"], aug_smooth=True)(pictures[1:], target)
        alone = CAM(model, method="gradcam", aug_smooth=True)(pictures[1:2], target)

    assert embedding.source == "input of 'fc'"
    torch.testing.assert_close(both["gradcam"].maps[0], alone.maps[0])


def test_hooks_are_removed_also_after_an_exception() -> None:
    model, picture = Headed("tensor"), two_things()
    before = model(picture)

    with pytest.raises(LayerError), EmbeddingOutput(model, find_inputs(first_thing())) as embedding:
        CAM(model, "nowhere")(picture, EmbeddingSimilarity(embedding.reference))

    assert torch.equal(model(picture), before)
    assert not any(module._forward_hooks for module in model.modules())
    assert not model.features.weight.grad


def test_the_reference_may_be_made_in_inference_mode() -> None:
    model = Headed("tensor")
    with torch.inference_mode():
        embedding = EmbeddingOutput(model, find_inputs(two_things()))

    assert not embedding.reference.is_inference()


def test_a_network_without_scores_by_class_has_no_embedding() -> None:
    with pytest.raises(
        TargetError, match=r"Expected a network with an output \(1, classes\) or \(1, c\) for an embedding, got \(1, 2, 8, 8\)"
    ):
        EmbeddingOutput(nn.Conv2d(2, 2, 1), find_inputs(two_things()))
