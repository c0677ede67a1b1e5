"""Parts of rich that make text from outside harmless, and keep a number and its unit together."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.measure import Measurement
from rich.text import Text

from camtool.words import escaped

if TYPE_CHECKING:
    from rich.console import ConsoleOptions, RenderResult

_GLUE = "\ue000"  # of a private area, so in no text: the space in front of "%", at which no line is broken


class PlainConsole(Console):
    """A console that prints strings as they are, control characters as escapes."""

    def render_str(self, text: str, **settings: Any) -> Text:
        """Return a string of a cell or a line, made harmless: names of classes and files may have escape codes of terminals."""
        return super().render_str(escaped(text), **settings)


@dataclass(frozen=True)
class Unbroken:
    """Text of a cell in which "2.6 %" stays in one line."""

    text: str

    def __rich_console__(self, console: Console, options: "ConsoleOptions") -> "RenderResult":
        """Yield the lines, broken at spaces, else anywhere."""
        for line in self._glued.wrap(console, options.max_width, overflow="fold"):
            yield Text(line.plain.rstrip().replace(_GLUE, " "))

    def __rich_measure__(self, console: Console, options: "ConsoleOptions") -> Measurement:
        """Return the widths of the longest word and of the longest line."""
        return Measurement.get(console, options, self._glued)

    @property
    def _glued(self) -> Text:
        return Text(escaped(self.text).replace(" %", f"{_GLUE}%"))
