"""perf against the real server where something breaks: perf_analyzer, the server, a model, perf itself."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from helpers import ROOT, SMALL_CONFIG, eventually, processes_of, run_program, serving, small_onnx, write_model
from onnx import TensorProto, helper
from perf_calls import PERF, QUICK, cells, figures, kept, run_perf

from generator.server.embedded.engine import serve
from generator.server.ports import free_ports
from perf.measure.analyzer import find
from perf.runs import store
from perf.runs.types import PARTS

pytestmark = pytest.mark.server


def fake(tmp_path, small_server, *arguments, **env):
    """Perf with a fake perf_analyzer."""
    program = ROOT / "tests" / "fake_perf_analyzer.py"
    env = {"REAL": str(find(None)[0]), **env}
    return run_perf(*QUICK, "-b", "1", "--perf-analyzer", program, "--url", small_server.url, *arguments,
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


def test_a_perf_analyzer_that_stalls(small_server, tmp_path):
    """(Fake perf_analyzer.) One that has its answers and does not end, as the real one at times, is started anew."""
    ran = fake(tmp_path, small_server, "--patience", "2", "-m", "one", STALL="one", TIMES="2")
    assert (tmp_path / "stalled1").exists()
    assert figures(cells(ran.stdout)["one"])
    assert not [repeat for repeat in kept(tmp_path).repeats if repeat.status != "ok"]
    assert not processes_of("fake_perf_analyzer")


def test_a_perf_analyzer_that_stalls_each_time(small_server, tmp_path):
    """(Fake perf_analyzer.) The third time it is given up, and the round keeps its line."""
    ran = fake(tmp_path, small_server, "--patience", "2", "-m", "one", STALL="one", TIMES="3")
    assert ran.status == 1
    assert "failed: one fp32 batch 1: perf_analyzer hung: 11 answers came, and no end" in ran.stderr
    (repeat,) = kept(tmp_path).repeats
    assert "-m" in repeat.command
    assert not processes_of("fake_perf_analyzer")


@pytest.mark.parametrize(
    ("victim", "reason"),
    [("tritonserver", "Triton was killed by SIGKILL"), ("stub", "the process of one was killed or crashed")],
)
def test_a_server_that_dies_in_a_sweep(small, tmp_path, victim, reason):
    """The point that was being measured is marked, another server is started, and the rest has figures."""
    small = shutil.copytree(small, tmp_path / "repo")
    line = [*PERF, *QUICK, "-b", "8", "--repository", str(small)]
    with subprocess.Popen(line, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as sweep:
        assert sweep.stderr is not None
        for said in sweep.stderr:
            if "round 2" in said:
                break
        (server,) = servers_of(small)
        (stub,) = [child for child in psutil.Process(server).children() if f"{small}/one/" in " ".join(child.cmdline())]
        os.kill({"tritonserver": server, "stub": stub.pid}[victim], signal.SIGKILL)
        out, err = sweep.communicate()
    assert sweep.returncode == 1
    points = kept(tmp_path).results
    failed = [found for found in points if found.status == "failed"]
    assert len(failed) == 1, err
    assert reason in failed[0].reason
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
        line = [*PERF, *QUICK, "-b", "8", "--url", running.url]
        with subprocess.Popen(line, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as sweep:
            assert sweep.stderr is not None
            for said in sweep.stderr:
                if "round 2" in said:
                    break
            os.kill(servers_of(small)[0], signal.SIGKILL)
            out, err = sweep.communicate()
    assert sweep.returncode == 1
    assert sum(cell == "failed" for row in cells(out).values() for cell in row) == 3, err
    assert f"no Triton at {running.url} any more" in err


@pytest.mark.parametrize(
    ("kills", "batch_sizes"), [(8, (1, 8)), pytest.param(20, (1, 2, 4, 8), marks=pytest.mark.nightly)]
)
def test_a_run_that_is_killed_and_resumed(small_server, tmp_path, kills, batch_sizes):
    """SIGKILL at random moments, each time resumed: every point is measured, and no round is doubled or lost."""
    rng = random.Random(6)  # noqa: S311 (moments)
    arguments = (*QUICK, "-b", ",".join(map(str, batch_sizes)), "--url", small_server.url, "--resume")
    before = 0
    for number in range(kills):
        line = [*PERF, *arguments]
        with subprocess.Popen(
            line, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as sweep:
            for _ in range(number % 3):  # in a first or second round; else at the start, too
                assert any(said.startswith("[") for said in sweep.stderr)
            time.sleep(rng.uniform(0, 1.5))
            sweep.kill()
        assert sweep.returncode == -signal.SIGKILL
        files = store.paths(tmp_path / "perf" / "results")
        rounds = len(store.read(files[0]).repeats) if files else 0
        assert rounds >= before  # nothing that was measured is lost
        before = rounds
        assert eventually(lambda: not processes_of(small_server.url))
    assert before > 0
    ran = run_perf(*arguments, cwd=tmp_path)
    assert len(store.paths(tmp_path / "perf" / "results")) == 1
    run = kept(tmp_path)
    asked = [(model, batch_size) for model in ("one", "three", "two") for batch_size in batch_sizes]
    assert sorted((point.model, point.batch_size) for point in run.run.points) == asked
    assert run.due == ()
    numbers = [(found.point, found.number) for found in run.repeats]
    assert len(numbers) == len(set(numbers))
    assert all(
        {found.number for found in result.repeats} == set(range(1, len(result.repeats) + 1)) for result in run.results
    )
    assert len(cells(ran.stdout)) == 3, ran.stderr
    again = run_perf("--resume", cwd=tmp_path)
    assert f"run {run.run.id} is complete: nothing is measured" in again.stderr
    assert again.stdout == ran.stdout


def test_ctrl_c(small_server, tmp_path):
    """Exit status 130, where the rounds are kept, and nothing that still runs."""
    line = [*PERF, *QUICK, "--url", small_server.url]
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
    assert not processes_of(small_server.url)


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
        ran = run_perf(*QUICK, "-b", "1,8", "--url", server.url, cwd=tmp_path)
    assert ran.status == 1
    row = cells(ran.stdout)["hard"]
    assert float(row[0].split()[0]) >= 0
    assert row[1] == "failed"
    assert re.search(r"failed: hard fp32 batch 8: .*onnx runtime error", ran.stderr)


def test_answers_from_a_cache_are_not_measured(tmp_path):
    """Answers from the response cache are refused: they would show the speed of the cache."""
    write_model(tmp_path / "repo", "cached", SMALL_CONFIG + "response_cache { enable: true }\n", small_onnx())
    ports = free_ports()
    with serve(tmp_path / "repo", ports=ports) as server:
        ran = run_perf(*QUICK, "-b", "1", "--url", server.grpc_url, cwd=tmp_path)
    assert (ran.status, cells(ran.stdout)["cached"]) == (1, ["failed"])
    assert "the server answered from its response cache" in ran.stderr


def test_doctor_finds_the_engine(tmp_path):
    """`doctor` starts the engine and perf_analyzer and finds both."""
    ran = run_program("doctor", "--json", cwd=tmp_path)
    rows = {row["subject"]: row for row in ran.json}
    assert ran.status == 0, ran.stderr
    assert all(rows[subject]["ok"] for subject in ("python", "build", "serve, embedded", "perf"))
    assert rows["perf"]["detail"].startswith("Perf Analyzer Version 2.51.0")
    assert run_program("doctor", cwd=tmp_path).stdout.count("\n") == len(rows) + 1
    assert json.loads(ran.stdout)
