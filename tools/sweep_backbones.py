"""Does every backbone of the zoo give a map? `python tools/sweep_backbones.py`; `--help` says the rest."""

from camtool.cli.main import run_alone
from camtool.cli.sweep import sweep

if __name__ == "__main__":
    run_alone(sweep)
