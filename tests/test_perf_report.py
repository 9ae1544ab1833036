"""perf_analyzer's CSV in every form, and its command line.

Of `data/perf`, `recorded-*` are of perf_analyzer 2.51.0 on the CPU; `constructed-*` are written after
src/report_writer.cc, for what no CPU server gives.
"""

from pathlib import Path

import pytest
from helpers import DATA

from perf.measure.analyzer import Analyzer, command, outcome, parse, stalled_after_s
from perf.runs.types import PLANS, PerfPoint, Report

FORMS = DATA / "perf"


@pytest.mark.parametrize("name", ["recorded-plain", "recorded-verbose"])
def test_a_recorded_report(name):
    """Columns are found by name, with and without --verbose-csv."""
    found = parse((FORMS / f"{name}.csv").read_text())
    parts = (found.client_send_us, found.network_us, found.queue_us, found.compute_input_us, found.compute_infer_us)
    assert parts == (151, 2825, 188, 87, 35925)
    assert (found.compute_output_us, found.client_recv_us) == (633, 3)
    assert (found.p50_us, found.p90_us, found.p95_us, found.p99_us) == (39576, 43357, 44560, 44560)
    assert found.concurrency == 1
    assert (found.avg_us is None) == (name == "recorded-plain")
    assert abs(found.latency_us - 39821) <= 10  # the sum of the parts is the mean, but for their rounding


# What each form has beside the columns that all have.
OPTIONAL = ("request_rate", "responses_per_second", "cache_hit_us", "cache_miss_us", "avg_us", "percentile_us", "other",
            "request_response_us", "response_wait_us")  # fmt: skip


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("recorded-plain", set()),
        ("recorded-verbose", {"avg_us", "request_response_us", "response_wait_us"}),
        ("recorded-percentile", {"percentile_us", "request_response_us", "response_wait_us"}),
        ("recorded-request-rate", {"request_rate", "avg_us", "request_response_us", "response_wait_us"}),
        ("recorded-cache", {"cache_hit_us", "cache_miss_us", "avg_us", "request_response_us", "response_wait_us"}),
        ("recorded-concurrency", {"avg_us", "request_response_us", "response_wait_us"}),
        ("constructed-gpu-metrics", {"avg_us", "request_response_us", "response_wait_us", "other"}),
        ("constructed-decoupled", {"responses_per_second"}),
    ],
)
def test_the_forms_of_a_report(name, there):
    """Every optional column is there where the form has it, and nowhere else."""
    found = parse((FORMS / f"{name}.csv").read_text())
    assert {field for field in OPTIONAL if getattr(found, field) is not None} == there
    assert found.p50_us > 0
    assert (found.concurrency is None) == (name == "recorded-request-rate")


def test_what_the_optional_columns_say():
    """Optional columns are read by name, in their own units."""
    assert parse((FORMS / "recorded-percentile.csv").read_text()).percentile_us == {"85": 1834}
    assert parse((FORMS / "recorded-request-rate.csv").read_text()).request_rate == 50.0
    assert parse((FORMS / "recorded-concurrency.csv").read_text()).concurrency == 4
    cached = parse((FORMS / "recorded-cache.csv").read_text())
    assert cached.cache_hit_us
    assert cached.cache_hit_us > 0
    gpu = parse((FORMS / "constructed-gpu-metrics.csv").read_text())
    assert gpu.other == {
        "Avg GPU Utilization": "GPU-aaaa:0.47;",
        "Avg GPU Power Usage": "GPU-aaaa:61.2;",
        "Max GPU Memory Usage": "GPU-aaaa:1523580928;",
        "Total GPU Memory": "GPU-aaaa:16945512448;",
    }


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "wrote 0 rows"),
        ("Concurrency,Inferences/Second,Client Send\n", "wrote 0 rows"),
        ("Concurrency,Client Send\n1,2\n1,2\n", "wrote 2 rows"),
        ("Concurrency,Inferences/Second,Client Send\n1,5,2\n", "wrote no 'Network"),
        ((FORMS / "recorded-plain.csv").read_text().replace("35925", "nan"), "wrote 'nan' for 'Server Compute Infer'"),
        ((FORMS / "recorded-plain.csv").read_text().replace("35925", "-1"), "wrote '-1' for"),
        ((FORMS / "recorded-plain.csv").read_text().replace("35925", ""), "wrote no 'Server Compute Infer'"),
    ],
)
def test_a_report_that_cannot_be_read(text, why):
    """A report with a missing or invalid value is refused."""
    with pytest.raises(ValueError, match=why):
        parse(text)


@pytest.mark.parametrize(
    "head", ["Inferences/Second", "Client Send", "Server Queue", "Client Recv", "p50 latency", "p99 latency"]
)
def test_a_column_that_every_report_has(head):
    """A report without it is refused."""
    text = (FORMS / "recorded-plain.csv").read_text()
    assert text.count(head) == 1
    with pytest.raises(ValueError, match=f"wrote no '{head}'"):
        parse(text.replace(head, "Another"))


@pytest.mark.parametrize(
    ("status", "log", "report", "found"),
    [
        # As 2.51.0 does it: exit status 2, these words, no file.
        (2, "Failed to obtain stable measurement.", None, ("unstable", "perf_analyzer found no three windows that agree")),
        (99, "error: refused\n", "", ("failed", "perf_analyzer ended with 99: error: refused")),
        (99, "pa: unrecognized option '--x'\nUsage: pa [options]\n==== SYNOPSIS ====\n", "",
         ("failed", "perf_analyzer ended with 99: pa: unrecognized option '--x'")),
        (-9, "", "", ("failed", "perf_analyzer ended with -9: no output")),
        (0, "", None, ("failed", "perf_analyzer wrote no report")),
        (0, "", "Concurrency\n", ("failed", "perf_analyzer wrote 0 rows instead of one")),
        (0, "", (FORMS / "recorded-cache.csv").read_text(),
         ("failed", "the server answered from its response cache, which is not measured")),
        (0, "", (FORMS / "recorded-plain.csv").read_text(), ("ok", "")),
    ],
)  # fmt: skip
def test_what_a_process_comes_to(tmp_path, status, log, report, found):
    """A report, or a reason in words."""
    path = tmp_path / "report.csv"
    if report is not None:
        path.write_text(report)
    made = outcome(("perf_analyzer",), 1.0, status, log, path)
    assert (made.status, made.reason) == found
    assert isinstance(made.report, Report) == (found[0] == "ok")


def test_the_line_of_a_point():
    """The batch, the concurrency, real input, warm-up, a report of its own."""
    analyzer = Analyzer(Path("pa"), "2.51.0")
    line = command(
        analyzer, PerfPoint("dpn92", "fp32", 8, 2), "h:1", PLANS["published", "standard"], Path("in"), Path("o")
    )
    assert line == [
        "pa", "-m", "dpn92", "-u", "h:1", "-i", "grpc", "-b", "8", "--concurrency-range=2", "--input-data=in",
        "--warmup-request-count=200", "--request-count=4000", "--verbose-csv", "-f", "o",
    ]  # fmt: skip
    analyzer = Analyzer(Path("pa"), "2.51.0", "http", "system")
    line = command(analyzer, PerfPoint("dpn92", "fp32", 8), "h:1", PLANS["production", "quick"], Path("in"), Path("o"))
    assert line[5:7] == ["-i", "http"]
    assert "--shared-memory=system" in line


@pytest.mark.parametrize(
    ("patience_s", "elapsed_s", "answers", "after_s"),
    [
        (300, 0, 0, 300),  # a first answer may take long: TensorRT builds an engine
        (300, 0.1, 100, 30),
        (300, 60, 12, 100),
        (300, 600, 12, 300),
        (10, 0.1, 100, 10),
    ],
)
def test_how_long_without_an_answer_is_a_hang(patience_s, elapsed_s, answers, after_s):
    """Twenty times the pace so far, within bounds."""
    assert stalled_after_s(patience_s, elapsed_s, answers) == after_s
