"""The table of asked and reached, by hand."""

from typing import Any

from camtool.benchmark.agreement import Agreement
from camtool.benchmark.cases import MEMORY
from camtool.benchmark.peers import GRAD_CAM, TORCHCAM
from camtool.benchmark.tables import cells, lines, markdown
from camtool.benchmark.timing import ABSENT, FAILED, OK, CaseResult, Timing


def _measured(method: str, reached: float | None, status: str = OK, **changes: Any) -> CaseResult:
    timings = {
        "forward": Timing(0.05, 1.0, 1.0, 1.0, 5),
        "camtool": Timing(0.06, reached or 0.0, 0.9, 1.2, 5),
        GRAD_CAM: Timing(0.6, 12.4, 12.4, 12.4, 1),
        TORCHCAM: Timing(0.1, 2.0, 1.9, 2.2, 3),
    }
    given = {"timings": timings if status == OK else {}, "asked": 1.05} | changes
    return CaseResult(f"{method} resnet50 8", "gradcam, layercam", "resnet50", 8, unit="forwards", status=status, reached=reached, **given)


def test_a_line_shows_its_best_and_worst_method_and_the_worst_decides() -> None:
    (line,) = lines([_measured("gradcam", 0.98), _measured("layercam", 1.054)])
    assert (line.row, line.network, line.batch) == ("gradcam, layercam", "ResNet-50", 8)
    assert line.peers == ("12x", "2.00x")
    assert (line.asked, line.reached, line.holds) == ("<= 1.05 forwards", "0.98 to 1.05", True)
    assert lines([_measured("gradcam", 0.98), _measured("layercam", 1.06)])[0].holds is False


def test_what_is_not_there_or_failed_is_said_beside_what_was_reached() -> None:
    absent = _measured("kpcacam", None, ABSENT, words="no method kpcacam")
    failed = _measured("eigencam", None, FAILED, words="ValueError: no")
    assert lines([absent])[0].reached == "not there yet"
    assert lines([absent])[0].holds is None
    (line,) = lines([_measured("gradcam", 1.0), absent, failed])
    assert line.reached == "1.00; kpcacam not there yet; eigencam failed"
    assert cells(absent)[:2] == ["kpcacam resnet50 8", "not there yet: no method kpcacam"]
    assert cells(failed)[1] == "failed: ValueError: no"


def test_nothing_is_judged_where_nothing_was_asked() -> None:
    (line,) = lines([_measured("gradcam", 3.0, asked=None)])
    assert (line.asked, line.reached, line.holds) == ("", "3.00", None)


def test_a_case_shows_medians_quartiles_and_agreement() -> None:
    agreements = {GRAD_CAM: Agreement(2e-6, 1e-4, 0, 8), TORCHCAM: Agreement(0.5, 1e-4, 1, 8)}
    assert cells(_measured("gradcam", 1.04, agreements=agreements)) == [
        "gradcam resnet50 8",
        "50.0 ms",
        "1.04 (0.90-1.20)",
        "12.40 (once)",
        "2.00 (1.90-2.20)",
        "pytorch-grad-cam 2e-06 (<= 1e-04); torchcam DIFFERS by 5e-01 (<= 1e-04), 1 of 8 blank",
    ]


def test_memory_is_shown_as_a_share_of_the_forwards() -> None:
    memory = {"forward": 100 * 2**20, "camtool": 110 * 2**20, GRAD_CAM: 900 * 2**20}
    measured = CaseResult("gradcam memory resnet50 8", "memory", "resnet50", 8, MEMORY, 1.15, OK, reached=1.1, memory=memory)
    assert cells(measured)[1:5] == ["100 MiB", "1.10 (110 MiB)", "9.00 (900 MiB)", ""]
    (line,) = lines([measured])
    assert (line.peers, line.asked, line.reached, line.holds) == (("9.00x", ""), "<= 1.15 of the forward's memory", "1.10", True)


def test_markdown_says_on_what_it_was_measured() -> None:
    printed = markdown([_measured("gradcam", 0.98), _measured("layercam", 1.2)], "2 CPU threads").splitlines()
    assert printed[0].startswith("Measured on 2 CPU threads. Ratios to")
    assert printed[-1] == "| gradcam, layercam | ResNet-50, 8 | 12x | 2.00x | <= 1.05 forwards | 0.98 to 1.20 | no |"
