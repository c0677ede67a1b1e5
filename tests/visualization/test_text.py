"""Text below pictures: wrapped, harmless, and in letters that a font has."""

from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from PIL import Image, ImageDraw, ImageFont, features

from camtool.errors import CamtoolWarning
from camtool.visualization import fonts
from camtool.visualization.fonts import font_for
from camtool.visualization.text import text_lines, warn_of_unknown_letters, wrapped

LONG_LAYER = "backbone.features.encoder.stages[3].blocks[11].attention.normalisation.projection.layers[0].convolution"
DEJAVU = "DejaVu Sans"


def write_font(file: Path, letters: str) -> None:
    """Write a font in which each of the letters is a filled triangle, and a missing glyph a filled square."""
    square, triangle = (TTGlyphPen(None) for _ in range(2))
    for pen, corners in ((square, [(0, 0), (0, 800), (800, 800), (800, 0)]), (triangle, [(0, 0), (400, 800), (800, 0)])):
        pen.moveTo(corners[0])
        for corner in corners[1:]:
            pen.lineTo(corner)
        pen.closePath()
    glyphs = {".notdef": square.glyph(), "letter": triangle.glyph()}
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(list(glyphs))
    builder.setupCharacterMap(dict.fromkeys(map(ord, letters), "letter"))
    builder.setupGlyf(glyphs)
    builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (1000, 0)))
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": "Triangles", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    file.parent.mkdir(parents=True, exist_ok=True)
    builder.save(file)


@pytest.fixture
def system_fonts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the only fonts that this system has."""
    folder = tmp_path / "fonts"
    monkeypatch.setattr(fonts, "font_folders", lambda: [folder])
    return folder


@pytest.mark.parametrize("width", [32, 224, 448, 2000])
@pytest.mark.parametrize(
    "text",
    ["", "cat", "great white shark, white shark, man-eater, man-eating shark", LONG_LAYER, "x" * 300, "Ä é 猫 🐈 " * 20, "word " * 60],
)
def test_a_caption_is_wrapped_within_the_width_and_loses_nothing(text: str, width: int) -> None:
    font = ImageFont.load_default(min(max(width / 22, 11), 48))
    lines = wrapped(text, font, width - 8)
    assert all(font.getlength(line) <= width - 8 for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_a_layer_path_is_broken_behind_its_dots() -> None:
    font = ImageFont.load_default(14)
    lines = wrapped(LONG_LAYER, font, 220)
    assert len(lines) > 2
    assert all(line.endswith(".") for line in lines[:-1])


@pytest.mark.parametrize("text", ["Größe", "ñandú", "кошка", "ελιά", "חתול", "قطة", "tench"])
def test_letters_of_other_alphabets_are_drawn_and_not_boxes(text: str) -> None:
    font, missing = font_for(text, 12.0)
    box = bytes(font.getmask("\uffff"))
    assert all(bytes(font.getmask(letter)) != box for letter in text)
    assert not missing


def test_the_usual_font_serves_where_it_can() -> None:
    usual = ImageFont.load_default(12).getname()
    assert font_for("tench", 12.0)[0].getname() == usual
    assert font_for("кошка", 12.0)[0].getname()[0] == DEJAVU


def test_a_font_of_the_system_is_taken_for_letters_that_only_it_has(system_fonts: Path) -> None:
    assert font_for("黑猫 (1)", 12.0)[1] == {"黑", "猫"}
    write_font(system_fonts / "sub/some.ttf", "黑猫 ()1")
    (system_fonts / "damaged.ttf").write_bytes(b"no font")
    fonts._choice.cache_clear()

    font, missing = font_for("黑猫 (1)", 12.0)

    assert font.getname()[0] == "Triangles"
    assert not missing
    drawn = text_lines(["黑猫 (1)"], 224)
    assert not np.array_equal(drawn, text_lines(["?? (1)"], 224))
    warn_of_unknown_letters(["黑猫 (1)"])  # warnings are errors here


def test_the_font_with_most_of_the_letters_is_taken_where_none_has_all(system_fonts: Path) -> None:
    write_font(system_fonts / "one.ttf", "猫 ")
    write_font(system_fonts / "two.ttf", "黑猫 ")
    assert font_for("黑猫鼠", 12.0)[1] == {"鼠"}


def test_letters_that_no_font_has_are_question_marks_with_a_remark(system_fonts: Path) -> None:
    np.testing.assert_array_equal(text_lines(["猫 (4), 2.6 %"], 224), text_lines(["? (4), 2.6 %"], 224))
    with pytest.warns(CamtoolWarning, match=r"Letters drawn as '\?' in the figure: 猫: no font of this system has them; install one"):
        warn_of_unknown_letters(["猫 (4)", "猫 (5)", "cat"])


@pytest.mark.parametrize("text", ["e\u0301t\u00e9", "می\u200cخواهم", "a\u00a0b", "a\u3000b"])
def test_marks_joiners_and_spaces_are_no_missing_letters(text: str, system_fonts: Path) -> None:
    assert font_for(text, 12.0)[1] == set()


@pytest.mark.skipif(not features.check("raqm"), reason="Pillow without libraqm")
def test_a_right_to_left_name_is_drawn_in_its_order_with_its_number_behind_it() -> None:
    drawn = text_lines(["חתול (281), 2.6 %"], 400)

    font = ImageFont.truetype(Path(fonts.find_spec("matplotlib").origin).parent / "mpl-data/fonts/ttf/DejaVuSans.ttf", 400 / 22)
    image = Image.new("RGB", (400, len(drawn)), (255, 255, 255))
    left = 4
    draw = ImageDraw.Draw(image)
    for part in ("לותח", " (281), 2.6 %"):  # the letters from left to right as they are seen: the last one first
        for letter in part if part[0] == "ל" else [part]:
            draw.text((left, 2 + round(0.95 * 400 / 22)), letter, fill=(20, 20, 20), font=font, anchor="ls")
            left += round(font.getlength(letter))
    ink, expected = ((np.asarray(picture) < 128).all(axis=2) for picture in (drawn, image))
    assert np.count_nonzero(ink & expected) > 0.6 * np.count_nonzero(ink)  # a pixel off here and there
    columns = np.flatnonzero(ink.any(axis=0))
    assert abs(columns.max() - np.flatnonzero(expected.any(axis=0)).max()) <= 3


def test_without_libraqm_right_to_left_letters_are_question_marks_and_the_remark_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("camtool.visualization.text.can_reorder", lambda: False)
    np.testing.assert_array_equal(text_lines(["חתול (1)"], 224), text_lines(["???? (1)"], 224))
    with pytest.warns(CamtoolWarning, match="install libfribidi"):
        warn_of_unknown_letters(["חתול (1)"])


def test_line_breaks_and_escape_codes_have_no_effect_on_what_is_drawn() -> None:
    plain = text_lines(["red fox (1), 2.6 %"], 224)
    for name in ("red\nfox", "red \r\n fox", "\x1b[31mred fox\x1b[0m", "red\x07 \x9b1mfox", "\x1b]0;title\x07red\tfox", "red\u202e fox"):
        np.testing.assert_array_equal(text_lines([f"{name} (1), 2.6 %"], 224), plain)


@pytest.mark.parametrize("width", range(30, 300, 7))
def test_a_number_is_not_parted_from_its_percent_sign_nor_broken_at_its_point(width: int) -> None:
    font = ImageFont.load_default(11)
    lines = wrapped("great white shark (281), 2.6 %", font, width)
    assert sum("2.6 %" in line for line in lines) == 1 or font.getlength("2.6 %") > width
    assert "".join(lines).replace(" ", "") == "greatwhiteshark(281),2.6%"
