"""Text from outside (class names, paths) made harmless for terminals and pictures."""

import re
import unicodedata

MOST_CHARACTERS = 60
"""Of a name in a sentence or below a picture."""

# Escape sequences of terminals: strings such as a window's title, with their end; colours and moves; two-character ones.
_ESCAPES = re.compile(
    r"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f]).*?(?:\x07|\x1b\\|\x9c)|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b[ -/]*[0-~]", re.DOTALL
)
_JOINERS = "\u200c\u200d"  # letters of Persian, Hindi and emoji look otherwise without them


def one_line(text: str) -> str:
    r"""Return text in one line: escape sequences and control characters left out, any run of white space as one space.

    Example:
        >>> one_line("red\n  fox \x1b[31m!\x1b[0m")
        'red fox !'
    """
    kept = "".join(character for character in _ESCAPES.sub("", text) if character.isspace() or not _is_control(character))
    return " ".join(kept.split())


def shortened(text: str, most: int = MOST_CHARACTERS) -> str:
    """Return text with at most `most` characters, "…" in place of the rest.

    Example:
        >>> shortened("an uncommonly long name", 12)
        'an uncommon…'
    """
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def escaped(text: str) -> str:
    r"""Return text with control characters written as in JSON, except line breaks and tabs; JSON stays valid, with the same values.

    Example:
        >>> print(escaped("a\x1b[2J.jpg"))
        a\u001b[2J.jpg
    """
    return "".join(_escape(character) if character not in "\n\t" and _is_control(character) else character for character in text)


def _escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[place : place + 2].hex()}" for place in range(0, len(units), 2))


def _is_control(character: str) -> bool:
    """Return whether a terminal might obey a character, or it changes the order of those around it: no letter, no joiner."""
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and character not in _JOINERS
