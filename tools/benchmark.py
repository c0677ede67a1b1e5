"""Measure the cost of maps in camtool and other packages: `python tools/benchmark.py --quick`. Options: `--help`."""

from camtool.cli.benchmark import benchmark
from camtool.cli.main import run_alone

if __name__ == "__main__":
    run_alone(benchmark)
