"""Show figures: in a window, or without a display as coloured half-blocks in the terminal."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from camtool.words import escaped

_COLUMNS = 80


def show(whole: Any, single: Mapping[str, Any], file: TextIO) -> None:
    """Show the whole figure, RGB (h, w, 3), in a window, or each of its pictures under its caption by writing to `file`."""
    if _has_display() and _in_window(whole):
        return
    from rich.console import Console

    # Colours even in a pipe: without them --show shows nothing.
    console = Console(file=file, force_terminal=True, color_system="truecolor", width=_COLUMNS + 1)
    for caption, picture in single.items():
        console.print(escaped(caption), highlight=False, markup=False, emoji=False)
        console.print(_half_blocks(picture, min(_COLUMNS, picture.shape[1])))


def _has_display() -> bool:
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _in_window(picture: Any) -> bool:
    from camtool.io.images import encode

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "camtool.png"
        file.write_bytes(encode(picture, ".png"))
        command = [sys.executable, "-m", "camtool.visualization.window", str(file)]
        # In a process of its own: a GUI library aborts it if the display does not work.
        return subprocess.run(command, check=False, capture_output=True).returncode == 0


def _half_blocks(picture: Any, columns: int) -> Any:
    import numpy as np
    from PIL import Image
    from rich.color import Color
    from rich.color_triplet import ColorTriplet
    from rich.style import Style
    from rich.text import Text

    rows = max(2 * round(picture.shape[0] * columns / picture.shape[1] / 2), 2)
    pixels = np.asarray(Image.fromarray(picture).resize((columns, rows)))
    text = Text()
    for top in range(0, rows, 2):
        for left in range(columns):
            upper, lower = (Color.from_triplet(ColorTriplet(*pixels[row, left].tolist())) for row in (top, top + 1))
            text.append("▀", Style(color=upper, bgcolor=lower))
        text.append("\n")
    return text
