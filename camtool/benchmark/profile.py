"""Profile a case: the operators of the plain forward pass and of camtool by time."""

import os

import torch
from torch.profiler import ProfilerActivity, profile

from camtool.benchmark.cases import Case
from camtool.benchmark.networks import Subject
from camtool.benchmark.timing import explain, forward

OPERATORS = 25


def profiled(case: Case, subject: Subject, device: str) -> dict[str, str]:
    """Return for "forward" and "camtool" a table of the operators with the largest self time, after a warm-up."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the profiler logs its stages to standard error
    cuda = torch.device(device).type == "cuda"
    tables = {}
    for name, run in {"forward": forward(subject), "camtool": explain(subject, case)}.items():
        run()
        with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]) as profiler:
            run()
        order = f"self_{'cuda' if cuda else 'cpu'}_time_total"
        tables[name] = profiler.key_averages().table(sort_by=order, row_limit=OPERATORS, max_name_column_width=50)
    return tables
