"""`perf --charts` and `perf --html` on the command line."""

import pytest
from report_runs import disturbed_run, write

from perf.runs import store


@pytest.fixture(name="run")
def _run(tmp_path):
    """Store a run and return its file."""
    return write(tmp_path / "perf" / "results" / "cpu" / "20261124T100000Z.jsonl", disturbed_run())


def test_charts_of_a_stored_run(tritongen, run, tmp_path):
    """Each chart is written as SVG and PNG, and the table is printed; an older chart stays and is reported."""
    charts = tmp_path / "a" / "charts"
    charts.mkdir(parents=True)
    older = charts / "latency-batch-fp32-p50.svg"
    older.touch()
    ran = tritongen("perf", "--show", run, "--charts", "a/charts")
    assert ran.status == 0
    assert "| DPN92 |" in ran.stdout
    assert "older charts were kept: latency-batch-fp32-p50" in ran.stderr
    drawn = {path.name for path in charts.iterdir() if path != older}
    names = {name.partition(".")[0] for name in drawn}
    assert drawn == {f"{name}.{ending}" for name in names for ending in ("svg", "png")}
    assert {
        "top1-flops", "top1-flops-published", "top1-params", "top1-params-published", "top1-latency-batch-4-fp32",
        "top1-latency-batch-4-fp16-published-t4", "latency-batch-fp32", "parts-fp32-batch-1", "measured-published-v100-fp32",
    } <= names  # fmt: skip
    assert f"{len(names)} charts in a/charts" in ran.stderr


def test_report_with_certificates_of_another_repository(tritongen, run):
    """--repository is allowed with --show only for a report."""
    ran = tritongen("perf", "--show", run, "--html", "r.html", "--repository", "elsewhere")
    assert "report in r.html" in ran.stderr
    ran = tritongen("perf", "--show", run, "--repository", "elsewhere")
    assert ran.status == 2
    assert "--repository cannot be combined with it" in ran.stderr


def test_charts_of_the_published_tables(tritongen, tmp_path):
    """The charts of a published table need no run."""
    ran = tritongen("perf", "--show", "published", "--gpu", "t4", "--charts", "charts")
    assert ran.status == 0
    names = {path.stem for path in (tmp_path / "charts").iterdir()}
    assert names == {
        "top1-flops", "top1-flops-published", "top1-params", "top1-params-published",
        *(f"{chart}-{precision}-published-t4" for chart in ("top1-latency-batch-4", "latency-batch") for precision in ("fp16", "fp32")),
    }  # fmt: skip


def test_report_compares_with_the_previous_run(tritongen, run, tmp_path):
    """--compare replaces the comparison with the previous run."""
    before = store.read(run)
    old = run.with_name("20261123T100000Z.jsonl")
    text = (
        run.read_text().replace("20261124T100000Z", old.stem).replace("2026-11-24T10:00:00Z", "2026-11-23T10:00:00Z", 1)
    )
    old.write_text(text)
    assert tritongen("perf", "--show", "last", "--html", "out/report.html").status == 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert f"run {before.run.id} over run {old.stem}" in page
    assert "the newest earlier run" in page
    tritongen("perf", "--show", "last", "--compare", old, "--metric", "p50", "--html", "out/report.html")
    page = (tmp_path / "out" / "report.html").read_text()
    assert f"Client p50: run {before.run.id} over run {old.stem}" in page
    assert "the newest earlier run" not in page


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--show", "published", "--html", "r.html"],
            "--show published prints the published tables: --html cannot be combined with it",
        ),
        (["--gpu", "v100,t4", "--html", "r.html"], "--html writes a report of one run, not of --gpu v100,t4"),
        (["--show", "last", "--html", "file/r.html"], "cannot write file: not a directory"),
        (["--show", "last", "--charts", "file/charts"], "cannot write file/charts: not a directory"),
        (["--show", "last", "--html", ""], "Invalid value for '--html': the path is empty"),
        (["--show", "last", "--charts", ""], "Invalid value for '--charts': the path is empty"),
        (["--show", "last", "--charts", "a", "--html", "a"], "--charts a: this is the path of the report"),
        (["--show", "last", "--charts", "a", "--html", "/proc/r.html"], "cannot write /proc: "),
        (["--show", "last", "--html", "folder"], "File 'folder' is a directory"),
        (["--show", "last", "--charts", "file"], "Directory 'file' is a file"),
    ],
)
def test_unwritable_output_is_reported_first(tritongen, tmp_path, arguments, message):
    """The exit status is 1 or 2, and nothing is printed or written."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    ran = tritongen("perf", *arguments)
    assert ran.status in (1, 2)
    assert message.lower() in ran.stderr.lower()
    assert "Traceback" not in ran.stderr
    assert ran.stdout == ""
    assert {path.name for path in tmp_path.iterdir()} == {"perf", "folder", "file"}


def test_failed_report_keeps_the_old_file(tritongen, run, tmp_path):
    """A report is written completely or not at all."""
    (tmp_path / "r.html").write_text("old")
    run.write_text(run.read_text().replace("densenet121", "densenet999", 1))
    ran = tritongen("perf", "--show", run, "--html", "r.html")
    assert ran.status == 1
    assert (tmp_path / "r.html").read_text() == "old"
