"""Draw maps of samples of a config's data set: `python tools/browse.py CONFIG CHECKPOINT --random 5`. Options: `--help`."""

from camtool.cli.start import run_alone

if __name__ == "__main__":
    run_alone("browse")
