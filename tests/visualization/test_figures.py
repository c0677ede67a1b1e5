import numpy as np
import pytest

from camtool.errors import CamtoolWarning
from camtool.visualization import figures
from camtool.visualization.blocks import colour_bar
from camtool.visualization.figures import Cell, Style, figure
from camtool.visualization.overlay import heatmap, overlay

PAPER = 255
LONG_LAYER = "backbone.features.encoder.stages[3].blocks[11].attention.normalisation.projection.layers[0].convolution"


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 200, (240, 320, 3), dtype=np.uint8)


def cell(size: tuple[int, int] = (240, 320), subtitle: str = "gradcam @ layer4[-1]", remark: str = "") -> Cell:
    return Cell(np.linspace(0, 1, size[0] * size[1], dtype=np.float32).reshape(size), "tiger cat (282) 57.3 %", subtitle, remark)


def places(whole: np.ndarray, part: np.ndarray) -> list[tuple[int, int]]:
    """Return every (row, column) at which `part` lies in `whole`, pixel by pixel."""
    height, width = part.shape[:2]
    rows, columns = np.nonzero((whole[: whole.shape[0] - height + 1, : whole.shape[1] - width + 1] == part[0, 0]).all(axis=2))
    return [(r, c) for r, c in zip(rows, columns, strict=True) if np.array_equal(whole[r : r + height, c : c + width], part)]


def test_a_single_overlay_is_plain(picture: np.ndarray) -> None:
    np.testing.assert_array_equal(figure(picture, [[cell()]], Style()), overlay(picture, cell().saliency))


def test_a_single_heatmap_is_plain(picture: np.ndarray) -> None:
    drawn = figure(picture, [[cell()]], Style(kind="heatmap", colormap="turbo"))
    np.testing.assert_array_equal(drawn, heatmap(cell().saliency, "turbo"))


def test_a_single_overlay_at_opacity_0_is_the_picture(picture: np.ndarray) -> None:
    np.testing.assert_array_equal(figure(picture, [[cell()]], Style(opacity=0.0)), picture)


def test_a_remark_is_written_below_the_picture_not_on_it(picture: np.ndarray) -> None:
    drawn = figure(picture, [[cell(remark="no positive evidence for this target at this layer")]], Style(opacity=0.0))
    np.testing.assert_array_equal(drawn[:240], picture)
    below = drawn[240:].astype(int)
    assert (below[..., 0] - below[..., 1]).max() > 120  # red ink


def test_random_weights_are_said_on_every_kind_of_figure(picture: np.ndarray) -> None:
    for style in (Style(), Style(kind="heatmap"), Style(kind="panel")):
        for rows in ([[cell()]], [[cell(), cell()]]):
            silent, loud = figure(picture, rows, style), figure(picture, rows, style, alarm="RANDOM WEIGHTS: this map means nothing")
            assert loud.shape[1] == silent.shape[1]
            assert loud.shape[0] > silent.shape[0] + 10
            np.testing.assert_array_equal(loud[: silent.shape[0]], silent)
            below = loud[silent.shape[0] :].astype(int)
            assert (below[..., 0] - below[..., 1]).max() > 120


def test_a_panel_holds_original_map_and_overlay_from_left_to_right(picture: np.ndarray) -> None:
    drawn = figure(picture, [[cell()]], Style(kind="panel", opacity=0.4))
    found = [places(drawn, part) for part in (picture, heatmap(cell().saliency), overlay(picture, cell().saliency, opacity=0.4))]
    assert [len(where) for where in found] == [1, 1, 1]
    (row, _), columns = found[0][0], [where[0][1] for where in found]
    assert all(where[0][0] == row for where in found)
    assert columns == sorted(columns)
    assert np.diff(columns).min() >= 320  # none covers another
    assert drawn.shape[1] == 3 * 320 + 4 * 8


def test_a_panel_of_several_cells_has_a_row_for_each(picture: np.ndarray) -> None:
    one = figure(picture, [[cell()]], Style(kind="panel"))
    two = figure(picture, [[cell(), cell()]], Style(kind="panel"))
    assert two.shape == (2 * one.shape[0] - 8, one.shape[1], 3)


def test_a_grid_has_methods_as_rows_classes_as_columns_and_the_input_once(picture: np.ndarray) -> None:
    cells = [[Cell(np.full((240, 320), (row * 3 + column) / 6, dtype=np.float32), "a", "b") for column in range(3)] for row in range(2)]
    drawn = figure(picture, cells, Style())
    assert drawn.shape[1] == 4 * 320 + 5 * 8
    assert len(places(drawn, picture)) == 1
    where = [[places(drawn, overlay(picture, item.saliency)) for item in row] for row in cells]
    assert all(len(found) == 1 for row in where for found in row)
    rows = np.array([[found[0][0] for found in row] for row in where])
    columns = np.array([[found[0][1] for found in row] for row in where])
    assert (rows == rows[:, :1]).all()
    assert (columns == columns[:1]).all()
    assert rows[1, 0] - rows[0, 0] > 240
    assert (np.diff(columns[0]) == 328).all()


def test_captions_are_there(picture: np.ndarray) -> None:
    drawn = figure(picture, [[cell(), cell()]], Style())
    ink = (drawn < 100).all(axis=2)[8 + 240 : -8]
    assert ink[:, 8 : 8 + 320].any()  # "input"
    assert ink[:, 336 : 336 + 320].sum() > ink[:, 8 : 8 + 320].sum()


def test_a_small_picture_is_enlarged_by_whole_factors_so_that_captions_fit() -> None:
    small = np.random.default_rng(0).integers(0, 200, (32, 32, 3), dtype=np.uint8)
    drawn = figure(small, [[cell((32, 32)), cell((32, 32))]], Style())
    assert drawn.shape[1] == 3 * 224 + 4 * 8
    assert len(places(drawn, small.repeat(7, axis=0).repeat(7, axis=1))) == 1


def test_a_single_small_overlay_keeps_its_own_size() -> None:
    small = np.zeros((32, 32, 3), dtype=np.uint8)
    assert figure(small, [[cell((32, 32))]], Style()).shape == (32, 32, 3)


def test_a_long_layer_path_makes_the_figure_higher_not_wider(picture: np.ndarray) -> None:
    short = figure(picture, [[cell(), cell()]], Style())
    long = figure(picture, [[cell(), cell(subtitle=f"gradcam @ {LONG_LAYER}")]], Style())
    assert long.shape[1] == short.shape[1]
    assert long.shape[0] > short.shape[0]
    margin = long[8 + 240 : -8, 8 + 320 : 8 + 320 + 8]
    assert (margin == PAPER).all()  # no caption runs into its neighbour


def test_what_is_written_below_a_tiny_picture_has_room_to_be_read() -> None:
    tiny = np.zeros((32, 32, 3), np.uint8)
    drawn = figure(tiny, [[Cell(np.zeros((32, 32), np.float32), "", "", "no positive evidence for this target")]], Style())
    assert drawn.shape[1] == 7 * 32  # at least 224 pixels, by a whole factor
    assert 7 * 32 < drawn.shape[0] < 7 * 32 + 60  # two lines, not a column of letters


def test_panels_have_the_captions_that_they_are_given(picture: np.ndarray) -> None:
    plain = figures.panels(picture, [cell()], Style("panel"))
    np.testing.assert_array_equal(plain, figure(picture, [[cell()]], Style("panel")))
    own = figures.panels(picture, [cell()], Style("panel"), input_captions=["original", "true: cat (0)"], overlay_captions=["overlay"])
    assert own.shape == plain.shape
    ink = [(drawn[8 + 240 :] < 100).all(axis=2) for drawn in (plain, own)]
    columns = [slice(8 + 328 * place, 328 * (place + 1)) for place in range(3)]
    assert ink[1][:, columns[0]].sum() > 2 * ink[0][:, columns[0]].sum()  # "input" has become two lines
    np.testing.assert_array_equal(ink[0][:, columns[1]], ink[1][:, columns[1]])
    assert ink[1][:, columns[2]].sum() < ink[0][:, columns[2]].sum()  # two lines have become one


@pytest.mark.parametrize(("size", "rows"), [((8, 8), 224), ((28, 28), 224), ((300, 20), 600), ((700, 50), 700)])
def test_a_tall_picture_gets_room_beside_it_and_is_not_enlarged_without_bounds(size: tuple[int, int], rows: int) -> None:
    tall = np.random.default_rng(0).integers(0, 200, (*size, 3), dtype=np.uint8)
    drawn = figures.panels(tall, [cell(size)], Style("panel"))

    assert drawn.shape[1] == 3 * 224 + 4 * 8
    factor = rows // size[0]
    assert len(places(drawn, tall.repeat(factor, axis=0).repeat(factor, axis=1))) == 1
    assert rows < drawn.shape[0] < rows + 100


def test_with_caption_class_method_and_layer_stand_below_a_single_overlay_which_else_keeps_its_size(picture: np.ndarray) -> None:
    for kind in ("overlay", "heatmap"):
        plain, captioned = (figure(picture, [[cell()]], Style(kind=kind, caption=caption)) for caption in (False, True))
        assert plain.shape == picture.shape
        np.testing.assert_array_equal(captioned[:240], plain)
        rows = (captioned[240:] < 100).all(axis=2).any(axis=1)
        assert np.count_nonzero(np.diff(np.concatenate([[False], rows, [False]]).astype(int)) == 1) == 2  # two lines of ink


def test_a_caption_below_a_small_overlay_enlarges_it_by_a_whole_factor() -> None:
    small = np.random.default_rng(0).integers(0, 200, (32, 32, 3), dtype=np.uint8)
    drawn = figure(small, [[cell((32, 32))]], Style(opacity=0.0, caption=True))
    assert drawn.shape[1] == 224
    np.testing.assert_array_equal(drawn[:224], small.repeat(7, axis=0).repeat(7, axis=1))


def of_classes(*titles: str, portrait: np.ndarray | None = None) -> list[Cell]:
    return [Cell(np.eye(240, 320, dtype=np.float32), title, "gradcam at layer4", portrait=portrait) for title in titles]


def has_colour_bar(drawn: np.ndarray, colormap: str = "jet") -> bool:
    """Return whether some row of the figure runs once through the whole colour map, on paper, with words at its right."""
    is_paper = (drawn == PAPER).all(axis=2)
    for row in range(drawn.shape[0]):
        length = int(is_paper[row, 8:].argmax())  # from the margin to the next paper
        bar = heatmap(np.linspace(0, 1, max(length, 2), dtype=np.float32)[None], colormap)[0]
        if length >= 60 and np.array_equal(drawn[row, 8 : 8 + length], bar):
            return bool((drawn[row : row + 14, 16 + length :] < 100).any())
    return False


@pytest.mark.parametrize("style", [Style(), Style(kind="heatmap", colormap="turbo"), Style(kind="panel")], ids=lambda style: style.kind)
def test_maps_of_several_classes_have_a_colour_bar_that_says_that_each_has_its_own_scale(picture: np.ndarray, style: Style) -> None:
    assert has_colour_bar(figure(picture, [of_classes("cat", "dog")], style), style.colormap)
    assert not has_colour_bar(figure(picture, [of_classes("cat", "cat")], style), style.colormap)


@pytest.mark.parametrize("width", [224, 320, 900, 2400])
def test_what_the_ends_of_a_colour_bar_stand_for_can_be_read(width: int) -> None:
    """Lines of at least ten pixels a letter, broken where one is too long."""
    words = "the data set's scale of 603 maps: 0 at -0.0875, 1 at 0.37"
    bar = colour_bar(width, "jet", words)
    left = 24 + min(max(width // 4, 60), 300)
    rows = (bar[:, left:] < 128).any(axis=(1, 2)).astype(int)
    tops, bottoms = np.flatnonzero(np.diff(rows, prepend=0) == 1), np.flatnonzero(np.diff(rows, append=0) == -1)
    assert bar.shape[1] == width
    assert (bar[:, -4:] == PAPER).all(), "nothing is cut"
    assert min(bottoms - tops) + 1 >= 8, "from the top of its letters to the end of their tails"


def test_without_heat_maps_there_is_no_colour_bar(picture: np.ndarray) -> None:
    assert not has_colour_bar(figure(picture, [of_classes("cat", "dog", portrait=picture)], Style()))


def test_letters_without_a_font_are_remarked_on_once_a_figure_and_only_where_captions_are_drawn(picture: np.ndarray) -> None:
    unknown = of_classes("\u0378 cat", "\u0378 dog")
    with pytest.warns(CamtoolWarning, match="Letters drawn as '\\?'") as caught:
        figure(picture, [unknown], Style())
    assert len(caught) == 1
    figure(picture, [unknown[:1]], Style())  # plain: warnings are errors here
    with pytest.warns(CamtoolWarning, match="Letters drawn as"):
        figure(picture, [unknown[:1]], Style(kind="panel"))
