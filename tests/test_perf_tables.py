"""Tables, comparisons and data of perf, against golden ones. `GOLDEN=write` writes those."""

import csv
import io
import json
import math
import os

import pytest
from helpers import ROOT
from perf_runs import CPU, run

from generator.server.gpus import Gpu
from generator.system.text import markdown
from perf import output, request
from perf.runs import compare, export, published, tables
from perf.runs.metrics import COMPUTE
from perf.runs.types import Device, PerfPoint

GOLDEN = ROOT / "tests" / "golden" / "perf"
T4 = Device("t4", "Tesla T4", gpu=Gpu("Tesla T4", "GPU-aaaa", "550.54", "1590", "5001", "70.00", "41"))

MIXED = {
    ("densenet121", "fp32", 1): [35566, 35700, 36000],
    ("densenet121", "fp32", 8): [200000, 260000, 300000],
    ("mynet", "fp32", 1): ("failed", "perf_analyzer ended with 99: refused"),
    ("mynet", "fp32", 8): [123, 123, 124],
}
ON_T4 = {
    (model, precision, size): [base, base + 10, base + 20]
    for model in ("densenet121", "dpn68")
    for precision in ("fp16", "fp32")
    for size, base in ((1, 9000), (4, 15000), (8, 27000))
}


def golden(name, text):
    """Compare a text with the file, whole."""
    path = GOLDEN / name
    if os.environ.get("GOLDEN") == "write":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert path.read_text() == text


def printed(capsys, *stored, others=(), metrics=("compute",), **forms):
    """What the command prints of runs, on stdout."""
    compared = [output.compared(one, others, metrics) for one in stored]
    forms = {"as_parts": False, "as_csv": False, "as_json": False, **forms}
    output.print_runs(stored, compared, metrics, **forms)
    return capsys.readouterr().out


def test_a_golden_table(capsys):
    """The published columns; a failed and an unstable point are marked, the run stands under the table."""
    golden("cpu.md", printed(capsys, run(MIXED), metrics=("compute", "p99")))


def test_a_golden_table_of_parts(capsys):
    """A row a point, in microseconds; together they are the client's mean."""
    golden("parts.md", printed(capsys, run(MIXED), as_parts=True))


def test_a_golden_table_beside_the_published(capsys):
    """FP16 and FP32 across, the page's own figures below, and how like they are."""
    stored = run(ON_T4, device=T4, models=("densenet121", "dpn68"))
    golden("t4.md", printed(capsys, stored, others=(None,)))


def test_a_golden_comparison_of_runs(capsys):
    """Slower, faster, no difference shown, and in what the runs differ besides."""
    this = run(MIXED)
    that = run({**MIXED, ("densenet121", "fp32", 1): [30000, 30100, 30200], ("mynet", "fp32", 8): [150, 150, 151]},
               plan=("production", "standard"), protocol="http")  # fmt: skip
    golden("compared.md", printed(capsys, this, others=(that,)))


def test_a_golden_csv(capsys):
    """A row a point, read by any program."""
    text = printed(capsys, run(ON_T4, device=T4, models=("densenet121", "dpn68")), as_csv=True)
    golden("t4.csv", text)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["published_ms"] for row in rows[:2]] == [published.published("t4").latency_ms[PerfPoint(
        "densenet121", "fp16", size)].rstrip("0") for size in (1, 4)]  # fmt: skip


def test_the_json(capsys):
    """A record a run: its points, their rounds, what it was compared with."""
    stored = run(MIXED)
    (record,) = json.loads(printed(capsys, stored, others=(stored,), as_json=True))
    assert [point["status"] for point in record["points"]] == ["ok", "unstable", "failed", "ok"]
    assert [len(point["repeats"]) for point in record["points"]] == [3, 3, 1, 3]
    assert record["points"][0]["compute_ms"] == 35.7
    assert record["comparisons"][0]["geometric_mean"] == 1
    assert record["device"]["label"] == "a CPU, 2 cores"


def test_names_of_others_are_shown_not_obeyed():
    """A model's name comes from any server: no column ends in it, and no terminal obeys it."""
    assert "| a\\|b |" in markdown(["Models"], [[tables.title("a|b")]])
    assert tables.title("\x1b[2J") == "\\x1b[2J"


def test_the_published_figures():
    """30 cells of each; V100 has no FP16; the odd ones as they were published."""
    v100, t4 = published.published("v100"), published.published("t4")
    assert (len(v100.latency_ms), v100.precisions) == (30, ("fp32",))
    assert (len(t4.latency_ms), t4.precisions) == (60, ("fp16", "fp32"))
    assert v100.latency_ms[PerfPoint("dpn68", "fp32", 1)] == "8.18"
    assert t4.latency_ms[PerfPoint("dpn131", "fp32", 8)] == "89.24904"
    assert published.published("cpu").latency_ms == {}


def test_the_published_tables_again(capsys):
    """`--show published`: the page's heads, order and decimals."""
    output.print_published(["v100", "T4"])
    golden("published.md", capsys.readouterr().out)


def judged(this, other, agreement=0.05):
    """The verdict of two ranges in ms."""
    figures = [compare.Figure(sorted(values)[1], min(values), max(values)) for values in (this, other)]
    return compare.judged(PerfPoint("m", "fp32", 1), *figures, agreement).verdict


@pytest.mark.parametrize(
    ("this", "other", "verdict"),
    [
        ((10, 10, 10), (10, 10, 10), "no difference shown"),
        ((11, 11.1, 11.2), (10, 10.1, 10.2), "slower"),
        ((9, 9.1, 9.2), (10, 10.1, 10.2), "faster"),
        ((10.3, 10.4, 10.4), (10, 10.1, 10.2), "no difference shown"),  # apart, but as rounds of one side may be
        ((10.1, 12, 14), (10, 10.1, 10.2), "no difference shown"),  # the ranges meet
    ],
)
def test_a_verdict_rests_on_the_spread(this, other, verdict):
    """Ranges that do not meet, and more than rounds of one side differ by."""
    assert judged(this, other) == verdict


def test_the_mean_and_the_limit():
    """Geometric; a cell above the limit counts where it is shown slower."""
    this = run({("a", "fp32", 1): [20000] * 3, ("b", "fp32", 1): [10000, 10100, 14000]}, models=("a", "b"))
    other = run({("a", "fp32", 1): [10000] * 3, ("b", "fp32", 1): [9000, 9100, 13000]}, models=("a", "b"))
    made = compare.with_run(this, other, COMPUTE)
    assert made.geometric_mean == pytest.approx(math.sqrt(2 * 10.1 / 9.1))
    assert [cell.point.model for cell in made.above(1.10)] == ["a"]
    assert (made.agreeing, made.count("slower"), made.count("no difference shown")) == (0, 1, 1)
    assert compare.with_run(this, run({("c", "fp32", 1): [1] * 3}, models=("c",)), COMPUTE).geometric_mean is None


def test_what_keeps_a_run_from_the_published():
    """The profile, the count, the cells that the page does not have."""
    v100 = Device("v100", "Tesla V100", gpu=T4.gpu)
    figures = {("dpn68", "fp16", 1): [5000] * 3, ("dpn68", "fp32", 1): [8000] * 3}
    made = compare.with_published(run(figures, device=v100, models=("dpn68",)), published.published("v100"))
    said = compare.summary(made)
    assert [cell.point.precision for cell in made.cells] == ["fp32"]
    assert "The page has no V100 FP16." in said
    assert "Not like for like" in said
    assert "10 requests; the page's figures are of 2,000" in said
    like = run({("dpn68", "fp32", 1): [8000] * 3}, device=v100, models=("dpn68",), plan=("published", "standard"))
    said = compare.summary(compare.with_published(like, published.published("v100")))
    assert not [words for words in ("Not like", "has no", "A round here") if words in said]


def test_the_heads_of_the_csv_are_the_row():
    """No column of a row is left out."""
    stored = run(MIXED)
    assert tuple(export.row(stored, stored.results[0], published.published("cpu"))) == export.HEADS


def test_a_page_without_the_device():
    """Said before anything is measured."""
    with pytest.raises(Exception, match="the page has no table of a CPU"):
        request.check(run(MIXED).run.request, ["published"])
    assert CPU.name == "cpu"


def test_points_with_one_reason_share_a_line():
    """The first three are named, the others counted."""
    few = {("densenet121", "fp32", size): [30000] for size in (1, 2, 4, 8)}
    stored = run({**few, ("mynet", "fp32", 1): ("failed", "refused"), ("mynet", "fp32", 2): [30000] * 3})
    assert tables.reasons(stored) == [
        "unstable: densenet121 fp32 batch 1, densenet121 fp32 batch 2, densenet121 fp32 batch 4 and 1 more: "
        "only 1 of at least 3 rounds",
        "failed: mynet fp32 batch 1: refused",
    ]
