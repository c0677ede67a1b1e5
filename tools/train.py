"""Train a network: `python tools/train.py CONFIG`. Options: `--help`."""

from camtool.cli.main import run_alone
from camtool.cli.train import train

if __name__ == "__main__":
    run_alone(train)
