"""Wrong command lines by seeded mutation, run in this process: `python -m tests.fuzz_command_line [NUMBER] [SEED]`."""

import argparse
import hashlib
import json
import os
import random
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image
from typer.testing import CliRunner

from camtool.cli.failures import wants_json
from camtool.cli.main import app

ROOT = Path(__file__).resolve().parents[1]
CONFIG = str(ROOT / "configs/torch_model/colours.py")  # a network of a few weights
PICTURES = ("a.png", "b.jpg")

RIGHT = (
    f"vis a.png {CONFIG} --json",
    f"vis a.png {CONFIG} --method gradcam layercam --target-category red --opacity 0.4 --json",
    f"vis a.png b.jpg {CONFIG} --save-path out --batch-size 2 --json",
    f"vis a.png {CONFIG} --target contrast --target-category red --against blue -o x.png",
    f"vis a.png {CONFIG} --top-k 2 --figure panel --colormap viridis --save-raw x.npz --seed 3 --json",
    f"vis a.png {CONFIG} --cfg-options cam.method=fem --device cpu --original",
    f"run {CONFIG} --data . --out maps --workers 0 --json",
    f"run {CONFIG} --data . --out maps --workers 0 --method gradcam fem --target-category red blue --limit 1 --half --json",
    f"vis --preview-model {CONFIG} --depth 2 --filter conv --json",
    f"layers {CONFIG} --image a.png --depth 1 --layout ChannelsLast --json",
    f"browse {CONFIG} --image a.png b.jpg --out-dir out --target-category red --json",
    "models --filter lite --source camtool --json",
    "methods --json",
)
_VALUES = (
    "",
    " ",
    "-",
    "--",
    "-1",
    "0",
    "1e999",
    "nan",
    "9" * 30,
    "é",
    "日本",
    "a\nb",
    "\x1b[31m",
    "'",
    "[",
    "(1,",
    "a=b",
    "=",
    "%s",
    "{}",
)
_PATHS = ("..", "/", "*.png", "~nobody/x", "x" * 300, "a.png", "b.jpg", "out/x.png", "timm/none", "hf/./none", "mmpretrain::x.py")
JUNK = (*_VALUES, *_PATHS, "--json", "--methd", "-o", "-x")


def wrong_lines(number: int, seed: int = 0) -> Iterator[list[str]]:
    """Yield command lines, each a right one with one to three mutations; the same ones for the same seed."""
    generator = random.Random(seed)
    for _ in range(number):
        words = shlex.split(generator.choice(RIGHT))
        for _ in range(generator.randint(1, 3)):
            _mutate(words, generator)
        yield words


def _mutate(words: list[str], generator: random.Random) -> None:
    place = generator.randrange(1, len(words)) if len(words) > 1 else 0
    kind = generator.randrange(7) if words else 0
    if kind == 0:
        words.insert(place, generator.choice(JUNK))
    elif kind == 1:
        words[place] = generator.choice(JUNK)
    elif kind == 2:
        del words[place]
    elif kind == 3:
        words.insert(place, generator.choice(words))
    elif kind == 4:
        other = generator.randrange(len(words))
        words[place], words[other] = words[other], words[place]
    elif kind == 5 and words[place]:
        letter = generator.randrange(len(words[place]))
        words[place] = words[place][:letter] + generator.choice("x-=.9é") * generator.randrange(2) + words[place][letter + 1 :]
    else:
        words[place] += f"={generator.choice(JUNK)}"


def complaints(words: Sequence[str]) -> list[str]:
    """Run a command line in the working directory, which has PICTURES; return what is wrong with how it ended."""
    before = _digests()
    result = CliRunner().invoke(app, list(words))
    found = []
    if result.exit_code not in (0, 2):
        found.append(f"exit code {result.exit_code}: {result.stderr[-300:]} {result.exception!r}")
    if "Traceback" in result.stderr + result.stdout:
        found.append("a traceback")
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    if result.exit_code == 2 and words and not errors:
        found.append(f"no line of error: {result.stderr[-300:]!r}")
    if wants_json(words) and not _is_json(result.stdout):
        found.append(f"no JSON: {result.stdout[:200]!r}")
    if _digests() != before:
        found.append("an input was changed")
    return found


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), (dict, list))  # a list of reports for several pictures
    except ValueError:
        return False


def _digests() -> list[str]:
    return [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in (*PICTURES, CONFIG)]


def make_pictures(folder: Path) -> None:
    """Write PICTURES into a folder."""
    for number, name in enumerate(PICTURES):
        Image.new("RGB", (40, 30), (200, 40 * number, 30)).save(folder / name)


def main(number: int = 600, seed: int = 0) -> int:
    """Run wrong command lines in an empty folder, print those that end wrongly, and return their number."""
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        make_pictures(Path(folder))
        os.chdir(folder)
        for words in wrong_lines(number, seed):
            found = complaints(words)
            wrong += bool(found)
            if found:
                print(shlex.join(words), *found, sep="\n    ", flush=True)
        os.chdir(ROOT)
    print(f"{number} command lines, {wrong} that ended wrongly")
    return wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz_command_line", description=__doc__)
    parser.add_argument("number", nargs="?", type=int, default=600, help="of command lines")
    parser.add_argument("seed", nargs="?", type=int, default=0)
    given = parser.parse_args()
    sys.exit(bool(main(given.number, given.seed)))
