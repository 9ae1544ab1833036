"""Tables, comparisons and exports of perf against golden files. `GOLDEN=write` rewrites them."""

import csv
import io
import json
import math
import os
from collections import Counter

import pytest
from helpers import ROOT
from perf_runs import CPU, run

from generator.server.gpus import Gpu
from generator.system.text import markdown
from perf import output, request
from perf.runs import compare, tables
from perf.runs.types import COMPUTE, Device, PerfPoint

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
    """Assert that a text equals a golden file."""
    path = GOLDEN / name
    if os.environ.get("GOLDEN") == "write":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert path.read_text() == text


def printed(capsys, *stored, others=(), metrics=("compute",), **forms):
    """Return what the command prints of runs on stdout."""
    compared = [compare.comparisons(one, others, metrics) for one in stored]
    forms = {"as_parts": False, "as_csv": False, "as_json": False, **forms}
    output.print_runs(stored, compared, metrics, **forms)
    return capsys.readouterr().out


def test_latency_table(capsys):
    """The table has the published columns, marks failed and unstable points, and names the run below."""
    golden("cpu.md", printed(capsys, run(MIXED), metrics=("compute", "p99")))


def test_parts_table(capsys):
    """The table has a row per point in µs; the parts add up to the client's mean."""
    golden("parts.md", printed(capsys, run(MIXED), as_parts=True))


def test_table_with_published_latencies(capsys):
    """The table of a T4 has FP16 and FP32, followed by the published table and the ratios."""
    stored = run(ON_T4, device=T4, models=("densenet121", "dpn68"))
    golden("t4.md", printed(capsys, stored, others=(None,)))


def test_comparison_of_runs(capsys):
    """The table has each verdict, and names the differences between the runs."""
    this = run(MIXED)
    that = run({**MIXED, ("densenet121", "fp32", 1): [30000, 30100, 30200], ("mynet", "fp32", 8): [150, 150, 151]},
               plan=("production", "standard"), protocol="http")  # fmt: skip
    golden("compared.md", printed(capsys, this, others=(that,)))


def test_csv(capsys):
    """The CSV has a row per point."""
    text = printed(capsys, run(ON_T4, device=T4, models=("densenet121", "dpn68")), as_csv=True)
    golden("t4.csv", text)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["published_ms"] for row in rows[:2]] == [tables.published_ms("t4")[PerfPoint(
        "densenet121", "fp16", size)].rstrip("0") for size in (1, 4)]  # fmt: skip


def test_json(capsys):
    """The JSON has a record per run with its points, their rounds and its comparisons."""
    stored = run(MIXED)
    (record,) = json.loads(printed(capsys, stored, others=(stored,), as_json=True))
    assert [point["status"] for point in record["points"]] == ["ok", "unstable", "failed", "ok"]
    assert [len(point["repeats"]) for point in record["points"]] == [3, 3, 1, 3]
    assert record["points"][0]["compute_ms"] == 35.7
    assert record["comparisons"][0]["geometric_mean"] == 1
    assert record["device"]["label"] == "a CPU, 2 cores"


def test_model_names_are_escaped():
    """A name from a server cannot end a column or control the terminal."""
    assert "| a\\|b |" in markdown(["Models"], [[tables.title("a|b")]])
    assert tables.title("\x1b[2J") == "\\x1b[2J"


def test_published_latencies():
    """Each table has 30 cells per precision, V100 has no FP16, and decimals are as published."""
    v100, t4 = tables.published_ms("v100"), tables.published_ms("t4")
    assert Counter(point.precision for point in v100) == {"fp32": 30}
    assert Counter(point.precision for point in t4) == {"fp16": 30, "fp32": 30}
    assert v100[PerfPoint("dpn68", "fp32", 1)] == "8.18"
    assert t4[PerfPoint("dpn131", "fp32", 8)] == "89.24904"
    assert tables.published_ms("cpu") == {}


def test_show_published(capsys):
    """`--show published` prints the published heads, order and decimals."""
    output.print_published(["v100", "T4"])
    golden("published.md", capsys.readouterr().out)


def judged(this, other, agreement=0.05):
    """Return the verdict of two ranges in ms."""
    latencies = [compare.Latency(sorted(values)[1], min(values), max(values)) for values in (this, other)]
    return compare.judged(PerfPoint("m", "fp32", 1), *latencies, agreement).verdict


@pytest.mark.parametrize(
    ("this", "other", "verdict"),
    [
        ((10, 10, 10), (10, 10, 10), "no difference shown"),
        ((11, 11.1, 11.2), (10, 10.1, 10.2), "slower"),
        ((9, 9.1, 9.2), (10, 10.1, 10.2), "faster"),
        ((10.3, 10.4, 10.4), (10, 10.1, 10.2), "no difference shown"),  # apart, but within the agreement
        ((10.1, 12, 14), (10, 10.1, 10.2), "no difference shown"),  # the ranges overlap
    ],
)
def test_verdict(this, other, verdict):
    """A difference needs ranges that do not overlap and a ratio beyond the agreement."""
    assert judged(this, other) == verdict


def test_geometric_mean_and_limit():
    """Only a slower cell can exceed the limit."""
    this = run({("a", "fp32", 1): [20000] * 3, ("b", "fp32", 1): [10000, 10100, 14000]}, models=("a", "b"))
    other = run({("a", "fp32", 1): [10000] * 3, ("b", "fp32", 1): [9000, 9100, 13000]}, models=("a", "b"))
    made = compare.with_run(this, other, COMPUTE)
    assert made.geometric_mean == pytest.approx(math.sqrt(2 * 10.1 / 9.1))
    assert [cell.point.model for cell in made.above(1.10)] == ["a"]
    assert made.agreeing == 0
    assert [cell.verdict for cell in made.cells] == ["slower", "no difference shown"]
    assert compare.with_run(this, run({("c", "fp32", 1): [1] * 3}, models=("c",)), COMPUTE).geometric_mean is None


def test_notes_on_differences_from_the_published_measurements():
    """The notes name the profile, the number of requests and unpublished precisions."""
    v100 = Device("v100", "Tesla V100", gpu=T4.gpu)
    figures = {("dpn68", "fp16", 1): [5000] * 3, ("dpn68", "fp32", 1): [8000] * 3}
    made = compare.with_published(run(figures, device=v100, models=("dpn68",)))
    text = compare.summary(made)
    assert [cell.point.precision for cell in made.cells] == ["fp32"]
    assert "No FP16 was published for the V100." in text
    assert "Not like for like" in text
    assert "10 requests here, and 2,000 in the published measurements" in text
    like = run({("dpn68", "fp32", 1): [8000] * 3}, device=v100, models=("dpn68",), plan=("published", "standard"))
    text = compare.summary(compare.with_published(like))
    assert not [words for words in ("Not like", "was published", "A round is") if words in text]


def test_device_without_a_published_table():
    """The comparison is refused before anything is measured."""
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
