"""Train a network: `python tools/train.py CONFIG`. Options: `--help`."""

from camtool.cli.start import run_alone

if __name__ == "__main__":
    run_alone("train")
