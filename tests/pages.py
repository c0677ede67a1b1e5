"""The READMEs of the tree, and the blocks of code in them."""

import re
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("camtool", "configs", "demo", "tests", "tools")  # the top level is fixed; what lies beside them is not in the repository
FILES = [ROOT / "README.md", *chain.from_iterable(sorted((ROOT / folder).rglob("README.md")) for folder in FOLDERS)]
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in FILES}
"""Text by path."""


def blocks(page: str, language: str) -> list[str]:
    """Return the fenced blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGES[page], re.DOTALL | re.MULTILINE)


def commands(block: str) -> list[str]:
    """Return the commands of a block of bash, each in one line."""
    return [line for line in block.replace("\\\n", " ").splitlines() if line.strip()]


(TRAINING,) = [block for page in PAGES for block in blocks(page, "bash") if "tools/train.py" in block]
"""The block that trains a network, and looks at what was trained."""
