"""Train a network to look through: `python tools/train.py CONFIG`; `--help` says the rest."""

from camtool.cli.main import run_alone
from camtool.cli.train import train

if __name__ == "__main__":
    run_alone(train)
