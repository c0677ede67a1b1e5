"""How much does a map cost, here and with the peers? `python tools/benchmark.py --quick`; `--help` says the rest."""

from camtool.cli.benchmark import benchmark
from camtool.cli.main import run_alone

if __name__ == "__main__":
    run_alone(benchmark)
