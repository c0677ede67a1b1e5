"""What does the network see in its own data set? `python tools/browse.py CONFIG CHECKPOINT --random 5`; `--help` says the rest."""

from camtool.cli.browse import browse
from camtool.cli.main import run_alone

if __name__ == "__main__":
    run_alone(browse)
