"""Text from outside is harmless for terminals and pictures."""

import json
import random

import pytest

from camtool.words import escaped, one_line, shortened

DANGEROUS = ["\x1b", "\x07", "\x08", "\x7f", "\x9b", "\x9d", "\x00", "\u202e", "\u2066", "\ufeff", "\ud800"]
BREAKS = ["\n", "\r", "\t", "\x0b", "\x0c", "\x85", "\u2028", "\u2029"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("red\nfox", "red fox"),
        ("\x1b[1;31mred fox\x1b[0m", "red fox"),
        ("\x1b]0;owned\x07red fox", "red fox"),
        ("\x1b]8;;http://a\x1b\\red fox\x1b]8;;\x1b\\", "red fox"),
        ("\x9b31mred\x1bc fox", "red fox"),
        ("red\u202efox", "redfox"),
        ("چشم\u200cها", "چشم\u200cها"),
        ("  猫 \r\n", "猫"),
        ("", ""),
    ],
)
def test_a_name_becomes_one_line_without_escape_codes(name: str, expected: str) -> None:
    assert one_line(name) == expected


def test_no_random_text_keeps_anything_that_a_terminal_obeys() -> None:
    draw = random.Random(0)
    for _ in range(2000):
        text = "".join(draw.choices([*DANGEROUS, *BREAKS, *"ab [];mJH0"], k=12))
        assert not set(one_line(text)) & {*DANGEROUS, *BREAKS}
        assert not set(escaped(text)) & {*DANGEROUS, *BREAKS} - {"\n", "\t"}


def test_escaping_leaves_json_valid_and_its_values_as_they_are() -> None:
    values = {"path": "".join(DANGEROUS) + "a\nb 猫 \U000e0001"}
    for ascii_only in (True, False):
        assert json.loads(escaped(json.dumps(values, ensure_ascii=ascii_only))) == values


def test_ordinary_text_is_as_it_was() -> None:
    for text in ("tiger cat (282), 57.3 %", "Größe – “猫” 🐈 חתול", "two\nlines\tand a tab", "می\u200cخواهم"):
        assert escaped(text) == text


def test_long_text_is_shortened() -> None:
    assert shortened("a" * 60) == "a" * 60
    assert shortened("a" * 61) == "a" * 59 + "…"
    assert shortened("red fox", 5) == "red…"
