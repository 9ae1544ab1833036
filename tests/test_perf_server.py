"""perf against the real server, with the real perf_analyzer."""

import dataclasses
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tritonclient.grpc as triton
from helpers import ROOT, SMALL_CONFIG, eventually, processes_of, run_program, serving, small_onnx, write_model
from onnx import TensorProto, helper

from generator.server import probe
from generator.server.connect import DEFAULT_URL
from generator.server.embedded import serve
from generator.server.ports import free_ports
from perf import store
from perf.analyzer import Analyzer, find, measure
from perf.metrics import PARTS
from perf.plans import PLANS
from perf.spec import PerfPoint

pytestmark = pytest.mark.server

QUICK = ("--gpu", "cpu", "--measurement", "quick")
COMPUTE = {
    "compute_input": "compute_input_us",
    "compute_infer": "compute_infer_us",
    "compute_output": "compute_output_us",
}


def kept(cwd):
    """The newest run of a folder."""
    return store.read(store.paths(cwd / "perf" / "results")[0])


def cells(text):
    """Figures by model, of the first table in a text."""
    rows = re.findall(r"^\| (\w+) \| \S+ \| \S+ \| (.+) \|$", text.split("\n\n")[1], re.MULTILINE)
    return {name: row.split(" | ") for name, row in rows if name != "Models"}


def figures(row):
    """The numbers of cells, marked or not: on a busy machine a point may not settle, and has its figure all the same."""
    return [float(cell.split()[0]) for cell in row]


def test_the_table(server, tmp_path):
    """One DenseNet and one DPN at batch 1, 4 and 8: the published columns, positive figures that grow with the batch."""
    ran = run_program("perf", *QUICK, "-m", "dpn68,densenet121", "--metric", "compute", "--metric", "p99",
                      "--url", server.url, cwd=tmp_path)  # fmt: skip
    assert ran.status == ("unstable" in ran.stdout), ran.stderr
    assert ran.stdout.count("| Models | Crop Size | Resize Short Size | FP32<br>Batch Size=1<br>(ms) |") == 2
    compute, p99 = map(cells, re.split(r"^(?=Client p99, ms)", ran.stdout, flags=re.MULTILINE))
    assert list(compute) == list(p99) == ["DenseNet121", "DPN68"]
    for name in compute:
        inner, outer = figures(compute[name]), figures(p99[name])
        assert 0 < inner[0] < inner[1] < inner[2]
        assert all(one < two for one, two in zip(inner, outer, strict=True))  # the server's part is below the whole
    assert "rounds of 10 requests after 1 to warm up" in ran.stdout
    assert "Weights: random (seed 0)." in ran.stdout
    assert "[1/18] densenet121 fp32 batch 1" in ran.stderr
    run = kept(tmp_path)
    assert (run.run.device.name, run.run.request.url) == ("cpu", server.url)
    assert all(found.report and found.origin and not found.origin.model_sha256 for found in run.repeats)
    assert (
        run_program("perf", "--show", "last", "--metric", "compute", "--metric", "p99", cwd=tmp_path).stdout
        == ran.stdout
    )


def test_a_gpu_that_the_server_does_not_have(server, tmp_path):
    """Exit 1, what the server runs on, no table, and no run."""
    ran = run_program("perf", "--gpu", "v100", "--url", server.url, cwd=tmp_path)
    assert (ran.status, ran.stdout) == (1, "")
    assert re.match(
        r"error: --gpu v100: the server runs on .+ cores?, so there is no V100 table to measure\n", ran.stderr
    )
    assert not (tmp_path / "perf").exists()


def test_batches_that_the_model_does_not_take(server, tmp_path):
    """Said before anything is measured."""
    ran = run_program("perf", "-m", "dpn68", "-b", "1,16", "--url", server.url, cwd=tmp_path)
    assert (ran.status, ran.stdout) == (2, "")
    assert "error: --batch-sizes 16: dpn68 takes batches of 1 to 8" in ran.stderr


def test_a_point_is_reconciled(server):
    """perf_analyzer's parts, Triton's own statistics and the stored row are of the same time, within 2 %."""
    # Without requests to warm up, which the server counts and perf_analyzer does not.
    point = PerfPoint("dpn68", "fp32", 4)
    plan = dataclasses.replace(PLANS["production", "quick"], warmup_requests=0)
    model = probe.served_model(server.url, point.model)

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


@pytest.fixture(name="small", scope="module")
def _small(tmp_path_factory):
    """A repository of three tiny models."""
    repository = tmp_path_factory.mktemp("small") / "model_repository"
    for name in ("one", "three", "two"):
        write_model(repository, name)
    return repository


@pytest.fixture(name="small_server", scope="module")
def _small_server(small):
    """A server of those."""
    with serving(small) as running:
        yield running


def test_a_server_of_its_own(small, tmp_path):
    """Where no Triton runs one is started, said so, and stopped; JSON keeps every part, and what made it."""
    assert not probe.answers(DEFAULT_URL), f"this test wants no Triton at {DEFAULT_URL}"
    ran = run_program("perf", *QUICK, "-m", "one", "-b", "1,8", "--json", "--repository", small, cwd=tmp_path)
    assert f"starting a Triton of {small} (embedded engine) for this run" in ran.stderr
    (record,) = ran.json
    assert [(point["model"], point["batch_size"]) for point in record["points"]] == [("one", 1), ("one", 8)]
    for point in record["points"]:
        assert point["status"] in ("ok", "unstable")
        assert point["p99_ms"] >= point["p50_ms"] > 0
        origin = point["repeats"][0]["origin"]
        assert origin["versions"]["triton"] == "2.51.0"
        assert len(origin["model_sha256"]) == len(origin["config_sha256"]) == 64
    assert not processes_of(str(small))


@pytest.mark.parametrize(
    "way",
    [("--protocol", "http"), ("--shared-memory", "system"), ("--protocol", "http", "--shared-memory", "system"),
     ("--concurrency", "1,3")],
)  # fmt: skip
def test_ways_to_ask(small_server, tmp_path, way):
    """HTTP, shared memory and several requests at a time: the real server takes them, the table says them."""
    ports = small_server.ports
    http = ("--http-url", ports.http_url) if "http" in way else ()
    ran = run_program("perf", *QUICK, "-m", "one", "-b", "4", "--url", ports.grpc_url, *way, *http, cwd=tmp_path)
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


def test_the_published_profile(small, tmp_path):
    """A server a batch size, for that batch alone, of a working copy; the user's repository is not touched."""
    before = {path: path.read_bytes() for path in small.rglob("*") if path.is_file()}
    ran = run_program("perf", *QUICK, "-m", "one,two", "-b", "2,1", "--profile", "published", "--repository", small,
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
    """It gathers batches: said, with what to do."""
    ran = run_program("perf", *QUICK, "-m", "one", "--profile", "published", "--url", small_server.url, cwd=tmp_path)
    assert ran.status == 1
    assert "does not serve one for batches of 1 alone, which the published profile measures" in ran.stderr


def test_the_baseline(small_server, small, tmp_path):
    """ONNX Runtime alone, in turn with the server: a table of how often as long the server takes."""
    ran = run_program("perf", *QUICK, "-m", "one", "-b", "8", "--baseline", "--repository", small,
                      "--url", small_server.url, cwd=tmp_path)  # fmt: skip
    threads = len(os.sched_getaffinity(0))
    assert f"ONNX Runtime alone, in turn with the server, on {threads} threads" in ran.stdout
    (row,) = re.findall(r"\| one \| 8 \| 1 \| (\S+) \| (\S+) x \| (\S+) x \|", ran.stdout)
    # gRPC and two processes on a model of microseconds: the client waits longer than the graph runs.
    assert float(row[2]) > float(row[1])
    assert all(found.bare for found in kept(tmp_path).repeats)
    ran = run_program("perf", *QUICK, "-m", "one", "--baseline", "--url", small_server.url, cwd=tmp_path)
    assert "error: --baseline with one: there is no model_repository/one/1/model.onnx" in ran.stderr


def test_a_comparison_fails_a_build(small_server, tmp_path):
    """Two runs of one server side by side; a limit that none keeps ends with 1."""
    for _ in range(2):
        run_program("perf", *QUICK, "-m", "one", "-b", "8", "--url", small_server.url, cwd=tmp_path)
    newest, oldest = (path.stem for path in store.paths(tmp_path / "perf" / "results"))
    ran = run_program("perf", "--show", newest, "--compare", oldest, "--fail-above", "1000", cwd=tmp_path)
    assert ran.status == ("unstable" in ran.stdout)
    assert "of 1 cells agree within 10%; geometric mean of the ratios" in ran.stdout
    assert "(ratio)" in ran.stdout
    ran = run_program("perf", "--show", newest, "--compare", oldest, "--fail-above", "0.01", cwd=tmp_path)
    assert ran.status == 1
    assert "--fail-above 0.01: the mean is" in ran.stderr
    ran = run_program("perf", "--show", newest, "--compare", "published", cwd=tmp_path)
    assert (ran.status, ran.stdout) == (2, "")
    assert "error: the page has no table of a CPU" in ran.stderr


def fake(tmp_path, small_server, *arguments, **env):
    """Perf with a fake perf_analyzer."""
    program = ROOT / "tests" / "fake_perf_analyzer.py"
    env = {"REAL": str(find(None)[0]), **env}
    return run_program("perf", *QUICK, "-b", "1", "--perf-analyzer", program, "--url", small_server.url, *arguments,
                       cwd=tmp_path, env=env)  # fmt: skip


def test_a_perf_analyzer_that_crashes(small_server, tmp_path):
    """(Fake perf_analyzer.) That point is marked with the reason, the others have figures, exit 1."""
    ran = fake(tmp_path, small_server, CRASH="three")
    assert ran.status == 1
    assert cells(ran.stdout)["three"] == ["failed"]
    assert all(figures(row) for name, row in cells(ran.stdout).items() if name != "three")
    assert "failed: three fp32 batch 1: perf_analyzer ended with 99: error: it was told to" in ran.stderr


def test_a_perf_analyzer_that_hangs(small_server, tmp_path):
    """(Fake perf_analyzer.) It is given up when the server has answered nothing for so long, and nothing of it stays."""
    ran = fake(tmp_path, small_server, "--patience", "2", HANG="three")
    assert ran.status == 1
    assert cells(ran.stdout)["three"] == ["failed"]
    assert len(cells(ran.stdout)) == 3
    assert "failed: three fp32 batch 1: perf_analyzer hung: the server answered nothing for 2 s" in ran.stderr
    assert not processes_of("fake_perf_analyzer")


def test_a_server_that_dies_in_a_sweep(small, tmp_path):
    """The point that was being measured is marked, another server is started, and the rest has figures."""
    small = shutil.copytree(small, tmp_path / "repo")
    line = [sys.executable, "-m", "generator", "perf", *QUICK, "-b", "1,8", "--repository", str(small)]
    with subprocess.Popen(line, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as sweep:
        assert sweep.stderr is not None
        for said in sweep.stderr:
            if said.startswith("[8/"):
                break
        (server,) = servers_of(small)
        os.kill(server, signal.SIGKILL)
        out, err = sweep.communicate()
    assert sweep.returncode == 1
    points = kept(tmp_path).results
    failed = [found for found in points if found.status == "failed"]
    assert len(failed) == 1, err
    assert "Triton ended with" in failed[0].reason
    assert all(found.value_us(PARTS[4]) is not None for found in points if found is not failed[0])
    assert err.count("starting a Triton of") == 1  # the first was said before
    assert sum(cell == "failed" for row in cells(out).values() for cell in row) == 1


def servers_of(repository):
    """Process ids of the tritonservers of a repository."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"/tritonserver") and f"--model-repository={repository}".encode() in words:
            found.append(int(folder.name))
    return found


def test_a_server_that_is_gone(small, tmp_path):
    """A server that was attached to and dies: every point that is left says so, and the run ends."""
    small = shutil.copytree(small, tmp_path / "repo")
    with serving(small) as running:
        line = [sys.executable, "-m", "generator", "perf", *QUICK, "-b", "1,8", "--url", running.url]
        with subprocess.Popen(line, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as sweep:
            assert sweep.stderr is not None
            for said in sweep.stderr:
                if said.startswith("[8/"):
                    break
            os.kill(servers_of(small)[0], signal.SIGKILL)
            out, err = sweep.communicate()
    assert sweep.returncode == 1
    assert sum(cell == "failed" for row in cells(out).values() for cell in row) == 6, err
    assert f"no Triton at {running.url} any more" in err


def test_a_sweep_that_is_killed_and_goes_on(small_server, tmp_path):
    """SIGKILL at 20 random moments, each time resumed: the points of an undisturbed run, none doubled, none lost."""
    rng = random.Random(6)  # noqa: S311 (moments)
    arguments = ("perf", *QUICK, "-b", "1,2,4,8", "--url", small_server.url)
    begun = time.monotonic()
    whole = run_program(*arguments, cwd=tmp_path)
    length_s = time.monotonic() - begun
    undisturbed = kept(tmp_path)
    assert len(cells(whole.stdout)) == 3
    other = tmp_path / "killed"
    other.mkdir()
    before, killed = 0, 0
    for _ in range(20):
        line = [sys.executable, "-m", "generator", *arguments, "--resume"]
        with subprocess.Popen(line, cwd=other, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as sweep:
            try:
                sweep.wait(rng.uniform(0.2, length_s / 16))
            except subprocess.TimeoutExpired:
                sweep.kill()
                killed += 1
        files = store.paths(other / "perf" / "results")
        rounds = len(store.read(files[0]).repeats) if files else 0
        assert rounds >= before  # nothing that was measured is lost
        before = rounds
        assert eventually(lambda: not processes_of("perf_analyzer"))
    ran = run_program(*arguments, "--resume", cwd=other)
    assert killed == 20
    assert len(store.paths(other / "perf" / "results")) == 1
    run = kept(other)
    assert run.run.points == undisturbed.run.points
    assert run.due == ()
    numbers = [(found.point, found.number) for found in run.repeats]
    assert len(numbers) == len(set(numbers))
    assert all(
        {found.number for found in result.repeats} == set(range(1, len(result.repeats) + 1)) for result in run.results
    )
    assert len(cells(ran.stdout)) == 3, ran.stderr
    again = run_program("perf", "--resume", cwd=other)
    assert f"run {run.run.id} is complete: nothing is measured" in again.stderr
    assert again.stdout == ran.stdout


def test_ctrl_c(small_server, tmp_path):
    """Exit status 130, where the rounds are kept, and nothing that still runs."""
    line = [sys.executable, "-m", "generator", "perf", *QUICK, "--url", small_server.url]
    with subprocess.Popen(line, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as sweep:
        assert sweep.stderr is not None
        for said in sweep.stderr:
            if said.startswith("[4/"):
                break
        sweep.send_signal(signal.SIGINT)
        out, err = sweep.communicate()
    assert (sweep.returncode, out) == (130, "")
    assert "what was measured is kept in perf/results/cpu/" in err
    assert len(kept(tmp_path).repeats) >= 3
    assert not processes_of("tritongen-perf-")


def test_the_harness_costs_little(server, tmp_path):
    """Time in neither perf_analyzer nor a server's start is below 3 % of a sweep."""
    run_program("perf", *QUICK, "-m", "dpn68,densenet121", "-b", "4,8", "--url", server.url, cwd=tmp_path)
    (session,) = kept(tmp_path).sessions
    rest_s = session.wall_s - session.servers_s - session.analyzer_s
    assert 0 <= rest_s < 0.03 * session.wall_s, session


def batch_of_one_behind_a_run_time_shape():
    """[N,4] -> reshaped to [1,4], whatever N is; the shape depends on the data, so that nobody can see it before."""
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMin", ["input"], ["least"], keepdims=0),
            helper.make_node("Mul", ["least", "zero"], ["nothing"]),
            helper.make_node("Cast", ["nothing"], ["none"], to=TensorProto.INT64),
            helper.make_node("Add", ["none", "shape"], ["computed"]),
            helper.make_node("Reshape", ["input", "computed"], ["output"]),
        ],
        "hard",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["N", 4])],
        [
            helper.make_tensor("shape", TensorProto.INT64, [2], [1, 4]),
            helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def test_a_point_that_fails_is_marked(tmp_path):
    """A model that fails at batch 8: that cell says so, the others have figures, exit status 1."""
    model = batch_of_one_behind_a_run_time_shape()
    config = SMALL_CONFIG.replace("[ 3, 224, 224 ]", "[ 4 ]").replace("[ 1000 ]", "[ 4 ]")
    write_model(tmp_path / "repo", "hard", config, model)
    with serving(tmp_path / "repo") as server:
        ran = run_program("perf", *QUICK, "-b", "1,8", "--url", server.url, cwd=tmp_path)
    assert ran.status == 1
    row = cells(ran.stdout)["hard"]
    assert float(row[0].split()[0]) >= 0
    assert row[1] == "failed"
    assert re.search(r"failed: hard fp32 batch 8: .*onnx runtime error", ran.stderr)


def test_answers_from_a_cache_are_not_measured(tmp_path):
    """The same photograph again and again would be a cache's speed."""
    write_model(tmp_path / "repo", "cached", SMALL_CONFIG + "response_cache { enable: true }\n", small_onnx())
    ports = free_ports()
    with serve(tmp_path / "repo", ports=ports) as server:
        ran = run_program("perf", *QUICK, "-b", "1", "--url", server.grpc_url, cwd=tmp_path)
    assert (ran.status, cells(ran.stdout)["cached"]) == (1, ["failed"])
    assert "the server answered from its response cache" in ran.stderr


def test_doctor_finds_the_engine(tmp_path):
    """What the tests above need is there, found by starting it."""
    ran = run_program("doctor", "--json", cwd=tmp_path)
    rows = {row["subject"]: row for row in ran.json}
    assert ran.status == 0, ran.stderr
    assert all(rows[subject]["ok"] for subject in ("python", "build", "serve, embedded", "perf"))
    assert rows["perf"]["detail"].startswith("Perf Analyzer Version 2.51.0")
    assert run_program("doctor", cwd=tmp_path).stdout.count("\n") == len(rows) + 1
    assert json.loads(ran.stdout)
