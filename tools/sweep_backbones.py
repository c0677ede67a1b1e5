"""Check that every backbone of the zoo gives a map: `python tools/sweep_backbones.py`. Options: `--help`."""

from camtool.cli.main import run_alone
from camtool.cli.sweep import sweep

if __name__ == "__main__":
    run_alone(sweep)
