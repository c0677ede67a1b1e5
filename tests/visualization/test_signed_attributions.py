"""Signed values around grey, and concepts in colour."""

import cv2
import numpy as np
import pytest
from pytorch_grad_cam.utils.image import deprocess_image, show_factorization_on_image

from camtool.visualization.concepts import ConceptMaps, coloured, colours, concept_figure
from camtool.visualization.signed_attributions import around_grey


def test_values_around_grey_equal_those_of_pytorch_grad_cam() -> None:
    values = np.random.default_rng(0).normal(0.3, 5, (3, 9, 7)).astype(np.float32)
    theirs = deprocess_image(values.transpose(1, 2, 0)).astype(int)
    assert np.abs(around_grey(values).astype(int) - theirs).max() <= 1


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e6])
def test_the_picture_does_not_depend_on_the_scale_of_the_values(scale: float) -> None:
    values = np.random.default_rng(0).normal(0, 1, (3, 9, 7))
    np.testing.assert_array_equal(around_grey(values * scale), around_grey(values))


def test_nothing_is_grey_and_other_numbers_of_channels_are_drawn_by_their_mean() -> None:
    assert np.unique(around_grey(np.zeros((3, 4, 4)))).tolist() == [127]
    values = np.random.default_rng(0).normal(0, 1, (5, 4, 4))
    values[:, 0, 0] = np.nan
    drawn = around_grey(values)
    assert drawn.shape == (4, 4, 3)
    assert (drawn == drawn[..., :1]).all()
    assert drawn[0, 0].tolist() == [127] * 3


def test_concepts_are_coloured_as_in_pytorch_grad_cam() -> None:
    random = np.random.default_rng(0)
    picture, maps = random.integers(0, 255, (8, 10, 3), dtype=np.uint8), random.random((4, 8, 10))
    theirs = show_factorization_on_image(picture / 255, maps.copy(), [one / 255 for one in colours(4)], image_weight=0.3)
    # Theirs goes by way of whole levels of HSV.
    assert np.abs(coloured(picture, maps, 0.7).astype(int) - theirs.astype(int)).max() <= 2


def test_concepts_have_different_colours_and_unseen_places_keep_the_picture() -> None:
    assert len(np.unique(colours(12), axis=0)) == 12
    picture = np.full((4, 4, 3), 200, dtype=np.uint8)
    maps = np.zeros((2, 4, 4))
    maps[:, 1, 1] = np.nan
    drawn = coloured(picture, maps, 0.5)
    assert drawn[1, 1].tolist() == [200] * 3
    assert drawn[0, 0].tolist() == [100] * 3


def test_the_figure_has_the_picture_the_concepts_and_every_colour_in_the_legend() -> None:
    picture = np.full((240, 320, 3), 90, dtype=np.uint8)
    maps = np.zeros((5, 240, 320), dtype=np.float32)
    drawn = concept_figure(picture, ConceptMaps(maps, [f"concept {k}" for k in range(5)], ["at a layer"]))
    for colour in colours(5):
        assert (drawn == colour).all(axis=2).sum() == 14 * 14
    loud = concept_figure(picture, ConceptMaps(maps, ["a"] * 5, alarm="RANDOM WEIGHTS"))
    assert loud.shape[0] > drawn.shape[0] - 40
    assert cv2.cvtColor(loud, cv2.COLOR_RGB2HSV)[..., 1].max() == 255
