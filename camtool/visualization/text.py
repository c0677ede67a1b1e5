"""Text below pictures: any string on white paper, wrapped, in a font that has its letters."""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from camtool.errors import some, warn
from camtool.visualization.fonts import Font, can_reorder, font_for, is_right_to_left
from camtool.words import one_line

PAPER, INK, ALARM = (255, 255, 255), (20, 20, 20), (176, 0, 32)
UNKNOWN = "?"
"""Drawn in place of a letter that no font has."""

_LEFT_TO_RIGHT_MARK = "\u200e"
_BREAK = re.compile(r" |(?<!\d)\.|\.(?!\d)")  # not at the point of "57.3"
_GLUE = "\ue000"  # in place of a space that no line is broken at: of a private area, so in no text


def text_lines(texts: Sequence[str], width: int, *, colour: tuple[int, int, int] = INK, scale: float = 1.0) -> UInt8[np.ndarray, "k w 3"]:
    """Return the texts on paper, below each other, each wrapped to `width` pixels and in a font that has its letters.

    Line breaks, control characters and escape sequences have no effect; letters that no font has are drawn as "?".

    Args:
        scale: of the letters; with 1 they are as large as suits a picture of this width.

    Example:
        >>> text_lines(["tabby cat (281), 2.6 %"], 224).shape
        (18, 224, 3)
    """
    size = scale * suitable(width)
    lines = []
    for text in texts:
        written, font, _ = _written(text, size)
        lines += [(line, font) for line in wrapped(written, font, width - 8)]
    height = round(size * 1.3)
    image = Image.new("RGB", (width, height * len(lines) + 4), PAPER)
    draw = ImageDraw.Draw(image)
    for index, (line, font) in enumerate(lines):
        # A caption is a sentence from left to right, whatever script the name of a class is in.
        direction = "ltr" if can_reorder() and any(map(is_right_to_left, line)) else None
        # By the baseline: fonts differ in the room above their letters.
        draw.text((4, 2 + index * height + round(0.95 * size)), line, fill=colour, font=font, anchor="ls", direction=direction)
    return np.asarray(image)


def suitable(width: int) -> float:
    """Return the size of letters in pixels that suits a picture of this width."""
    return float(min(max(width / 22, 11), 48))


def warn_of_unknown_letters(texts: Iterable[str]) -> None:
    """Warn, once for all texts, of the letters that are drawn as "?"."""
    unknown = sorted({letter for text in texts for letter in _written(text, 12.0)[2]})
    if not unknown:
        return
    if not can_reorder() and any(map(is_right_to_left, unknown)):
        reason = "Pillow draws right-to-left text only with FriBiDi; install libfribidi"
    else:
        reason = "no font of this system has them; install one that has, such as Noto Sans CJK for Chinese, Japanese and Korean"
    warn(f"Letters drawn as {UNKNOWN!r} in the figure: {some(unknown, most=10)}: {reason}.")


def wrapped(text: str, font: Font, width: int) -> list[str]:
    """Return `text` in lines of at most `width` pixels, broken at spaces or after dots, else anywhere; never before "%"."""
    lines: list[str] = []
    rest = text.replace(" %", f"{_GLUE}%")
    while _length(rest, font) > width and len(rest) > 1:
        most = max(bisect_right(range(1, len(rest) + 1), float(width), key=lambda k: _length(rest[:k], font)), 1)
        breaks = [found.start() if found[0] == " " else found.end() for found in _BREAK.finditer(rest)]
        cut = max((place for place in breaks if 0 < place <= most), default=most)
        lines.append(rest[:cut].rstrip())
        rest = rest[cut:].lstrip()
    return [line.replace(_GLUE, " ") for line in [*lines, rest]]


def _length(text: str, font: Font) -> float:
    return font.getlength(text.replace(_GLUE, " "))


def _written(text: str, size: float) -> tuple[str, Font, frozenset[str]]:
    """Return the text as it is drawn, its font, and the letters that it lacks."""
    line = unicodedata.normalize("NFC", one_line(text))  # a letter with its accent is in more fonts than the accent alone
    unordered = frozenset() if can_reorder() else frozenset(filter(is_right_to_left, line))
    line = _without(line, unordered)
    font, missing = font_for(line, size)
    line = _without(line, missing)
    if can_reorder() and any(map(is_right_to_left, line)):
        # The number behind a name in Hebrew belongs to the sentence, not to the name, which would else be drawn behind it.
        line = re.sub(r"(?=\s*\(\d+\))", _LEFT_TO_RIGHT_MARK, line)
    return line, font, missing | unordered


def _without(text: str, letters: frozenset[str]) -> str:
    return "".join(UNKNOWN if letter in letters else letter for letter in text)
