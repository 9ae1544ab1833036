"""`perf --charts` and `perf --html` as a user calls them."""

import pytest
from report_runs import disturbed_run, write

from perf.runs import store


@pytest.fixture(name="run")
def _run(tmp_path):
    """A stored run."""
    return write(tmp_path / "perf" / "results" / "cpu" / "20261124T100000Z.jsonl", disturbed_run())


def test_charts_of_a_stored_run(tritongen, run, tmp_path):
    """Each as SVG and PNG; what was not drawn is said; the table is printed all the same, also if points are marked.

    A chart of before stays, since it may be wanted; that it is of another call is said.
    """
    charts = tmp_path / "a" / "charts"
    charts.mkdir(parents=True)
    before = charts / "latency-batch-fp32-p50.svg"
    before.touch()
    ran = tritongen("perf", "--show", run, "--charts", "a/charts")
    assert ran.status == 0
    assert "| DPN92 |" in ran.stdout
    assert "of before, and still there: latency-batch-fp32-p50" in ran.stderr
    drawn = {path.name for path in charts.iterdir() if path != before}
    names = {name.partition(".")[0] for name in drawn}
    assert drawn == {f"{name}.{ending}" for name in names for ending in ("svg", "png")}
    assert {
        "top1-flops", "top1-flops-published", "top1-params", "top1-params-published", "top1-latency-batch-4-fp32",
        "top1-latency-batch-4-fp16-published-t4", "latency-batch-fp32", "parts-fp32-batch-1", "measured-published-v100-fp32",
    } <= names  # fmt: skip
    assert f"{len(names)} charts in a/charts" in ran.stderr


def test_a_report_of_a_repository_that_moved(tritongen, run):
    """Where certificates are looked for can be said; it measures nothing all the same."""
    ran = tritongen("perf", "--show", run, "--html", "r.html", "--repository", "elsewhere")
    assert "report in r.html" in ran.stderr
    ran = tritongen("perf", "--show", run, "--repository", "elsewhere")
    assert ran.status == 2
    assert "--repository cannot go with it" in ran.stderr


def test_charts_of_the_published_tables(tritongen, tmp_path):
    """Without any run."""
    ran = tritongen("perf", "--show", "published", "--gpu", "t4", "--charts", "charts")
    assert ran.status == 0
    names = {path.stem for path in (tmp_path / "charts").iterdir()}
    assert names == {
        "top1-flops", "top1-flops-published", "top1-params", "top1-params-published",
        *(f"{chart}-{precision}-published-t4" for chart in ("top1-latency-batch-4", "latency-batch") for precision in ("fp16", "fp32")),
    }  # fmt: skip


def test_a_report_stands_beside_the_run_before(tritongen, run, tmp_path):
    """Unless something else is asked for."""
    before = store.read(run)
    old = run.with_name("20261123T100000Z.jsonl")
    text = (
        run.read_text().replace("20261124T100000Z", old.stem).replace("2026-11-24T10:00:00Z", "2026-11-23T10:00:00Z", 1)
    )
    old.write_text(text)
    assert tritongen("perf", "--show", "last", "--html", "out/report.html").status == 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert f"run {before.run.id} over run {old.stem}" in page
    assert "the newest before this one" in page
    tritongen("perf", "--show", "last", "--compare", old, "--metric", "p50", "--html", "out/report.html")
    page = (tmp_path / "out" / "report.html").read_text()
    assert f"Client p50: run {before.run.id} over run {old.stem}" in page
    assert "the newest before this one" not in page


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--show", "published", "--html", "r.html"], "a report is of a run: --html cannot go with --show published"),
        (["--gpu", "v100,t4", "--html", "r.html"], "a report is of one run: --html cannot go with --gpu v100,t4"),
        (["--show", "last", "--html", "file/r.html"], "cannot write file: not a directory"),
        (["--show", "last", "--charts", "file/charts"], "cannot write file/charts: not a directory"),
        (["--show", "last", "--html", ""], "Invalid value for '--html': the path is empty"),
        (["--show", "last", "--charts", ""], "Invalid value for '--charts': the path is empty"),
        (["--show", "last", "--charts", "a", "--html", "a"], "--charts a: the report is written to the same path"),
        (["--show", "last", "--charts", "a", "--html", "/proc/r.html"], "cannot write /proc: "),
        (["--show", "last", "--html", "folder"], "File 'folder' is a directory"),
        (["--show", "last", "--charts", "file"], "Directory 'file' is a file"),
    ],
)
def test_what_cannot_be_written_is_said_first(tritongen, tmp_path, arguments, said):
    """One sentence, status 1 or 2, and nothing is printed or written."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    ran = tritongen("perf", *arguments)
    assert ran.status in (1, 2)
    assert said.lower() in ran.stderr.lower()
    assert "Traceback" not in ran.stderr
    assert ran.stdout == ""
    assert {path.name for path in tmp_path.iterdir()} == {"perf", "folder", "file"}


def test_a_report_that_cannot_be_finished_leaves_the_old_one(tritongen, run, tmp_path):
    """Written whole or not at all."""
    (tmp_path / "r.html").write_text("old")
    run.write_text(run.read_text().replace("densenet121", "densenet999", 1))
    ran = tritongen("perf", "--show", run, "--html", "r.html")
    assert ran.status == 1
    assert (tmp_path / "r.html").read_text() == "old"
