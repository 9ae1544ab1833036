"""perf against the real server, with the real perf_analyzer."""

import dataclasses
import os
import re

import pytest
import tritonclient.grpc as triton
from helpers import processes_of
from perf_calls import QUICK, cells, figures, kept, run_perf

from generator.server.engines import DEFAULT_URL
from generator.server.probe import TritonClient
from perf.measure.analyzer import Analyzer, find, measure
from perf.runs import store
from perf.runs.types import PARTS, PLANS, PerfPoint

pytestmark = pytest.mark.server

COMPUTE = {
    "compute_input": "compute_input_us",
    "compute_infer": "compute_infer_us",
    "compute_output": "compute_output_us",
}


@pytest.fixture(name="measured", scope="module")
def _measured(server, tmp_path_factory):
    """Measure one DenseNet and one DPN at batch 1 and 4; return the folder and the call."""
    folder = tmp_path_factory.mktemp("measured")
    return folder, run_perf(*QUICK, "-m", "dpn68,densenet121", "-b", "1,4", "--metric", "compute", "--metric", "p99",
                            "--url", server.url, cwd=folder)  # fmt: skip


def test_the_table(server, measured):
    """The table has the published columns, and positive figures that grow with the batch."""
    folder, ran = measured
    assert ran.status == 0, ran.stderr
    assert ran.stdout.count("| Models | Crop Size | Resize Short Size | FP32<br>Batch Size=1<br>(ms) |") == 2
    compute, p99 = map(cells, re.split(r"^(?=Client p99, ms)", ran.stdout, flags=re.MULTILINE))
    assert list(compute) == list(p99) == ["DenseNet121", "DPN68"]
    for name in compute:
        inner, outer = figures(compute[name]), figures(p99[name])
        assert 0 < inner[0] < inner[1]
        assert all(one < two for one, two in zip(inner, outer, strict=True))  # the server's part is below the whole
    assert "rounds of 10 requests after 1 to warm up" in ran.stdout
    assert "Weights: random (seed 0)." in ran.stdout
    assert "[1/4] densenet121 fp32 batch 1, round 1" in ran.stderr
    run = kept(folder)
    assert (run.run.device.name, run.run.request.url) == ("cpu", server.url)
    assert all(found.report and found.origin and not found.origin.model_digest for found in run.repeats)
    assert run_perf("--show", "last", "--metric", "compute", "--metric", "p99", cwd=folder).stdout == ran.stdout


def test_the_harness_costs_little(measured):
    """Less than 3 % of a run is spent in neither perf_analyzer nor the start of a server."""
    folder, _ = measured
    (session,) = kept(folder).sessions
    rest_s = session.wall_s - session.servers_s - session.analyzer_s
    assert 0 <= rest_s < 0.03 * session.wall_s, session


def test_a_gpu_that_the_server_does_not_have(server, tmp_path):
    """Exit 1, what the server runs on, no table, and no run."""
    ran = run_perf("--gpu", "v100", "--url", server.url, cwd=tmp_path)
    assert (ran.status, ran.stdout) == (1, "")
    assert re.match(r"error: cannot measure a V100: the server runs on .+ cores?\n", ran.stderr)
    assert not (tmp_path / "perf").exists()


def test_batches_that_the_model_does_not_take(server, tmp_path):
    """Said before anything is measured."""
    ran = run_perf("-m", "dpn68", "-b", "1,16", "--url", server.url, cwd=tmp_path)
    assert (ran.status, ran.stdout) == (2, "")
    assert "error: --batch-sizes 16: dpn68 takes batches of 1 to 8" in ran.stderr


def test_a_point_is_reconciled(server):
    """perf_analyzer's parts, Triton's own statistics and the stored row are of the same time, within 2 %."""
    # Without requests to warm up, which the server counts and perf_analyzer does not.
    point = PerfPoint("dpn68", "fp32", 4)
    plan = dataclasses.replace(PLANS["production", "quick"], warmup_requests=0)
    model = TritonClient(server.url).served_model(point.model)

    def statistics():
        with triton.InferenceServerClient(server.url) as client:
            (found,) = client.get_inference_statistics(point.model).model_stats
        return found.inference_stats

    before = statistics()
    made = measure(Analyzer(*find(None)), point, model, server.url, plan, lambda: statistics().success.count)
    after = statistics()
    assert made.report, made.reason
    count = after.success.count - before.success.count
    assert count == plan.requests  # none that was not asked for
    for name, field in {"queue": "queue_us", **COMPUTE}.items():
        server_us = (getattr(after, name).ns - getattr(before, name).ns) / count / 1000
        assert abs(server_us - getattr(made.report, field)) <= max(0.02 * server_us, 2), name
    stored = store.CONVERTER.structure(store.lean(store.CONVERTER.unstructure(made.report)), type(made.report))
    assert stored == made.report
    parts_us = sum(part.value_us(stored) for part in PARTS)
    assert abs(parts_us - stored.latency_us) < 0.02 * stored.latency_us


def test_a_server_of_its_own(small, tmp_path):
    """Without a running Triton `perf` starts one, says so, and stops it; the JSON has every part and its origin."""
    assert not TritonClient(DEFAULT_URL).answers(), f"this test wants no Triton at {DEFAULT_URL}"
    ran = run_perf(*QUICK, "-m", "one", "-b", "1,8", "--json", "--repository", small, cwd=tmp_path)
    assert f"starting a Triton of {small} (embedded engine) for this run" in ran.stderr
    (record,) = ran.json
    assert [(point["model"], point["batch_size"]) for point in record["points"]] == [("one", 1), ("one", 8)]
    for point in record["points"]:
        assert point["status"] in ("ok", "unstable")
        assert point["p99_ms"] >= point["p50_ms"] > 0
        origin = point["repeats"][0]["origin"]
        assert origin["versions"]["triton"] == "2.51.0"
        assert len(origin["model_digest"]) == len(origin["config_sha256"]) == 64
    assert not processes_of(str(small))


def test_measured_drawn_and_reported(small_server, tmp_path):
    """One call: the table, the charts and the report of what was just measured."""
    ran = run_perf(*QUICK, "-m", "one", "-b", "1,4", "--url", small_server.url, "--charts", "charts", "--html",
                      "report.html", cwd=tmp_path)  # fmt: skip
    assert "report in report.html" in ran.stderr
    assert (tmp_path / "charts" / "latency-batch-fp32.svg").is_file()
    assert not list((tmp_path / "charts").glob("top1-flops*"))  # it has no published accuracy
    page = (tmp_path / "report.html").read_text()
    assert kept(tmp_path).run.id in page
    assert page.count("<figure>") == 3


@pytest.mark.parametrize(
    "way",
    [("--protocol", "http"), ("--shared-memory", "system"), ("--protocol", "http", "--shared-memory", "system"),
     ("--concurrency", "1,3")],
)  # fmt: skip
def test_ways_to_ask(small_server, tmp_path, way):
    """HTTP, shared memory and several requests at a time: the real server takes them, the table says them."""
    ports = small_server.ports
    http = ("--http-url", ports.http_url) if "http" in way else ()
    ran = run_perf(*QUICK, "-m", "one", "-b", "4", "--url", ports.grpc_url, *way, *http, cwd=tmp_path)
    assert all(value > 0 for value in figures(cells(ran.stdout)["one"])), ran.stderr
    run = kept(tmp_path)
    line = " ".join(run.repeats[0].command)
    assert ("-i http" in line) == ("http" in way)
    assert ("--shared-memory=system" in line) == ("system" in way)
    if "--concurrency" in way:
        assert [found.point.concurrency for found in run.results] == [1, 3]
        assert "Concurrency=3<br>(ms)" in ran.stdout
    assert ("over HTTP" in ran.stdout) == ("http" in way)
    assert ("through system shared memory" in ran.stdout) == ("system" in way)


@pytest.mark.parametrize("service", ["grpc_url", "metrics_url"])
def test_an_http_address_that_is_another(small_server, tmp_path, service):
    """GRPC answers with something else than HTTP, the metrics with 404: one sentence, no run."""
    ran = run_perf(*QUICK, "--protocol", "http", "--url", small_server.url,
                      "--http-url", getattr(small_server.ports, service), cwd=tmp_path)  # fmt: skip
    assert (ran.status, ran.stdout) == (1, "")
    assert (
        f"error: no Triton at {getattr(small_server.ports, service)}: nothing there answers Triton's HTTP" in ran.stderr
    )
    assert "hint: --http-url names its HTTP address" in ran.stderr
    assert not (tmp_path / "perf").exists()


def test_the_published_profile(small, tmp_path):
    """A server a batch size, for that batch alone, of a working copy; the user's repository is not touched."""
    before = {path: path.read_bytes() for path in small.rglob("*") if path.is_file()}
    ran = run_perf(*QUICK, "-m", "one,two", "-b", "2,1", "--profile", "published", "--repository", small,
                      cwd=tmp_path)  # fmt: skip
    assert sorted(cells(ran.stdout)) == ["one", "two"], ran.stderr
    assert ran.stderr.count("for batches of 1 alone") == ran.stderr.count("for batches of 2 alone") == 1
    run = kept(tmp_path)
    configs = {
        (found.point.batch_size, found.origin.config_sha256) for found in run.repeats if found.point.model == "one"
    }
    assert len(configs) == 2
    assert all("--request-count=50" in found.command for found in run.repeats)
    assert min(found.report.queue_us for found in run.repeats) < 100  # no queue delay: it was 100 µs
    assert before == {path: path.read_bytes() for path in small.rglob("*") if path.is_file()}


def test_a_running_server_is_not_of_the_published_profile(small_server, tmp_path):
    """A running server gathers batches: the error says so, with what to do."""
    ran = run_perf(*QUICK, "-m", "one", "--profile", "published", "--url", small_server.url, cwd=tmp_path)
    assert ran.status == 1
    assert "does not serve one for batches of 1 alone, which the published profile measures" in ran.stderr


def test_the_baseline(small_server, small, tmp_path):
    """ONNX Runtime alone, in turn with the server: a table of how often as long the server takes."""
    ran = run_perf(*QUICK, "-m", "one", "-b", "8", "--baseline", "--repository", small,
                      "--url", small_server.url, cwd=tmp_path)  # fmt: skip
    threads = len(os.sched_getaffinity(0))
    assert f"ONNX Runtime alone on {threads} threads, and the server's times over it" in ran.stdout
    (row,) = re.findall(r"\| one \| 8 \| 1 \| (\S+) \| (\S+) x \| (\S+) x \|", ran.stdout)
    # gRPC and two processes on a model of microseconds: the client waits longer than the graph runs.
    assert float(row[2]) > float(row[1])
    assert all(found.bare for found in kept(tmp_path).repeats)
    ran = run_perf(*QUICK, "-m", "one", "--baseline", "--url", small_server.url, cwd=tmp_path)
    assert "error: --baseline: one has no file model_repository/one/1/model.onnx" in ran.stderr


def test_a_comparison_fails_a_build(small_server, tmp_path):
    """Two runs of one server side by side; a limit that none keeps ends with 1."""
    for _ in range(2):
        run_perf(*QUICK, "-m", "one", "-b", "8", "--url", small_server.url, cwd=tmp_path)
    newest, oldest = (path.stem for path in store.paths(tmp_path / "perf" / "results"))
    ran = run_perf("--show", newest, "--compare", oldest, "--fail-above", "1000", cwd=tmp_path)
    assert ran.status == 0
    assert "of 1 cells agree within 10%; geometric mean of the ratios" in ran.stdout
    assert "(ratio)" in ran.stdout
    ran = run_perf("--show", newest, "--compare", oldest, "--fail-above", "0.01", cwd=tmp_path)
    assert ran.status == 1
    assert "--fail-above 0.01: the geometric mean is" in ran.stderr
    ran = run_perf("--show", newest, "--compare", "published", cwd=tmp_path)
    assert (ran.status, ran.stdout) == (2, "")
    assert "error: the page has no table of a CPU" in ran.stderr


def test_a_time_limit(small_server, tmp_path):
    """Every point has a figure, and is marked; that is no failure unless --strict; --resume settles what it left."""
    ran = run_perf(*QUICK, "-m", "one", "-b", "1,8", "--time-limit", "1s", "--url", small_server.url, cwd=tmp_path)
    assert ran.status == 0, ran.stderr
    assert [cell.endswith(" (unstable)") for row in cells(ran.stdout).values() for cell in row] == [True] * 2
    assert "2 of 2 points did not settle and are marked as unstable: --resume measures more rounds" in ran.stderr
    assert len(kept(tmp_path).repeats) == 2
    ran = run_perf("--resume", "--strict", "--time-limit", "1s", cwd=tmp_path)
    assert (ran.status, len(kept(tmp_path).repeats)) == (1, 2)
    ran = run_perf("--show", "last", cwd=tmp_path)
    assert (ran.status, "(unstable)" in ran.stdout) == (0, True)
    run_perf("--resume", "--time-limit", "1h", cwd=tmp_path)
    assert (len(kept(tmp_path).repeats), kept(tmp_path).due) == (6, ())
