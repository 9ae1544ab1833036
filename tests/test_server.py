"""A real Triton: built networks are READY and match torch, and a failed start is explained."""

import json
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from helpers import (
    SMALL_CONFIG,
    ask,
    assert_near,
    eventually,
    onnx_model,
    processes_of,
    run_program,
    serving,
    small_onnx,
    write_model,
)
from tiny_networks import TINY_DPN

import tritongen
from generator.errors import PortInUse, ServerFailed
from generator.imagenet import images as image
from generator.networks import INPUT, select
from generator.server.ports import free_ports
from generator.server.probe import TritonClient
from generator.types import Preprocessing
from generator.verify import samples
from generator.verify.compare import TOLERANCE
from generator.verify.references import TorchReference
from generator.weights.random_init import random_network

pytestmark = pytest.mark.server

LISTENING = "0A"  # the state in /proc/net/tcp


@pytest.mark.parametrize("name", ["densenet121", "dpn68"])
def test_served_answers_match_torch(server, name):
    """At batch 1, 4 and 8 the answers match torch within the bound of the certificate."""
    check_answers(server.url, name)


def check_answers(url, name):
    """Check the answers of a network with random weights."""
    module, _ = random_network(select([name])[0], seed=0)
    images = samples.feeds((INPUT,), 8, Preprocessing())["input"]
    (reference,) = TorchReference(module).run({"input": images})
    for size in (1, 4, 8):
        answer = ask(url, name, images[:size])
        assert answer.shape == (size, 1000)
        assert np.abs(answer - reference[:size]).max() <= TOLERANCE * np.abs(reference[:size]).max()


def test_server_listens_on_loopback_only(server):
    """No socket of the server is open to other hosts."""
    wanted = {f"{port:04X}" for port in (server.ports.http, server.ports.grpc, server.ports.metrics)}
    addresses = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for row in map(str.split, Path(table).read_text().splitlines()[1:]):
            address, port = row[1].split(":")
            if row[3] == LISTENING and port in wanted:
                addresses[port] = address
    assert set(addresses) == wanted
    assert set(addresses.values()) <= {"0100007F", "0000000000000000FFFF00000100007F"}  # 127.0.0.1, and as IPv6 maps it


def test_several_requests_run_as_one_batch(tmp_path):
    """Requests that wait at the same time are answered by one execution, each with its own rows."""
    delay = SMALL_CONFIG.replace("max_queue_delay_microseconds: 100", "max_queue_delay_microseconds: 500000")
    write_model(tmp_path / "repo", "small", delay)
    images = np.random.default_rng(0).standard_normal((8, 3, 224, 224), dtype=np.float32)
    with serving(tmp_path / "repo") as server, triton.InferenceServerClient(server.url) as client:
        whole = ask(server.url, "small", images)
        before = client.get_inference_statistics("small").model_stats[0]
        requests = []
        for rows in (slice(0, 1), slice(1, 3), slice(3, 8)):  # 1 + 2 + 5 = the preferred batch of 8
            request = triton.InferInput("input", [rows.stop - rows.start, 3, 224, 224], "FP32")
            request.set_data_from_numpy(images[rows])
            answers = []
            client.async_infer("small", [request], lambda result, error, into=answers: into.append(result or error))
            requests.append((rows, answers))
        assert eventually(lambda: all(answers for _, answers in requests))
        after = client.get_inference_statistics("small").model_stats[0]
    assert after.execution_count - before.execution_count == 1
    assert after.inference_count - before.inference_count == 8
    for rows, answers in requests:
        assert_near(answers[0].as_numpy("output"), whole[rows])


def test_a_request_that_fails_fails_alone(tmp_path):
    """Two invalid requests in a batch of eight get errors, and the other six get answers."""
    graph = onnx_model(
        [("Identity", ["text"], ["same"]), ("Gather", ["table", "index"], ["row"])],
        {"text": ["string", "N", 1], "index": ["int64", "N", 1]}, {"same": ["string", "N", 1], "row": ["fp32", "N", 1]},
        {"table": np.arange(4, dtype=np.float32)},
    )  # fmt: skip
    config = """backend: "onnxruntime" max_batch_size: 8
input [ { name: "text" data_type: TYPE_STRING dims: [ 1 ] }, { name: "index" data_type: TYPE_INT64 dims: [ 1 ] } ]
output [ { name: "same" data_type: TYPE_STRING dims: [ 1 ] }, { name: "row" data_type: TYPE_FP32 dims: [ 1 ] } ]
dynamic_batching { preferred_batch_size: [ 8 ] max_queue_delay_microseconds: 500000 }"""
    write_model(tmp_path / "repo", "table", config, graph)
    answers = [[] for _ in range(8)]
    with serving(tmp_path / "repo") as server, triton.InferenceServerClient(server.url) as client:
        before = client.get_inference_statistics("table").model_stats[0].execution_count
        for number, got in enumerate(answers):
            text, index = triton.InferInput("text", [1, 1], "BYTES"), triton.InferInput("index", [1, 1], "INT64")
            text.set_data_from_numpy(np.array([[b"\xff" if number == 2 else b"text %d" % number]], np.object_))
            index.set_data_from_numpy(np.array([[9 if number == 5 else number % 4]]))
            client.async_infer("table", [text, index], lambda result, error, into=got: into.append(result or error))
        assert eventually(lambda: all(answers))
        after = client.get_inference_statistics("table").model_stats[0].execution_count
    assert after == before + 1  # the good ones were in one batch with the bad ones
    for number, (answer,) in enumerate(answers):
        if number == 2:
            assert "input 'text' has a string that is not UTF-8" in str(answer)
        elif number == 5:
            assert "onnx runtime error" in str(answer)
        else:
            assert answer.as_numpy("same") == [[b"text %d" % number]]
            assert answer.as_numpy("row") == [[number % 4]]


def test_incomplete_configs_are_completed(tmp_path):
    """Inputs, outputs and batch are as in the C++ backend, which takes batches of 4 if the model's batch is open."""
    write_model(tmp_path / "repo", "open", 'backend: "onnxruntime"\n')
    write_model(tmp_path / "repo", "fixed", 'platform: "onnxruntime_onnx"\n', small_onnx(batch=1))
    with serving(tmp_path / "repo") as server, triton.InferenceServerClient(server.url) as client:
        opened, fixed = (client.get_model_config(name).config for name in ("open", "fixed"))
        answer = ask(server.url, "fixed", np.ones((1, 3, 224, 224), np.float32))
    assert (opened.max_batch_size, list(opened.dynamic_batching.preferred_batch_size)) == (4, [4])
    assert (list(opened.input[0].dims), list(opened.output[0].dims)) == ([3, 224, 224], [1000])
    assert (fixed.max_batch_size, list(fixed.input[0].dims)) == (0, [1, 3, 224, 224])
    assert answer.shape == (1, 1000)


def test_settings_reach_the_session(tmp_path):
    """A model with two instances, a graph level and threads loads and answers."""
    config = SMALL_CONFIG.replace("count: 1", "count: 2") + (
        'optimization { graph { level: -1 } } parameters { key: "intra_op_thread_count" value { string_value: "1" } }'
        ' parameters { key: "execution_mode" value { string_value: "1" } }'
    )
    write_model(tmp_path / "repo", "small", config)
    with serving(tmp_path / "repo") as server:
        assert ask(server.url, "small", np.ones((2, 3, 224, 224), np.float32)).shape == (2, 1000)
        assert len([line for line in processes_of("triton_python_backend_stub") if str(tmp_path) in line]) == 2


BROKEN = {
    "dims": (SMALL_CONFIG.replace("[ 1000 ]", "[ 1001 ]"), "the model expects 2 dimensions (shape [-1,1000])"),
    "output": (
        SMALL_CONFIG.replace('"output"', '"prob"'),
        "unexpected inference output 'prob', allowed outputs are: output",
    ),
    "dtype": (
        SMALL_CONFIG.replace("FP32 dims: [ 1000 ]", "INT64 dims: [ 1000 ]"),
        "configuration expects datatype TYPE_INT64",
    ),
    "threads": (
        SMALL_CONFIG + 'parameters { key: "intra_op_thread_count" value { string_value: "abc" } }',
        "failed to convert 'abc' to integral number",
    ),
    "typo": (SMALL_CONFIG.replace("max_batch_size", "max_batchsize"), 'no field named "max_batchsize"'),
    "preferred": (
        SMALL_CONFIG.replace("[ 4, 8 ]", "[ 4, 16 ]"),
        "dynamic batching preferred size must be <= max batch size",
    ),
    "labels": (
        SMALL_CONFIG.replace("[ 1000 ]", '[ 1000 ] label_filename: "no.txt"'),
        "failed to open text file for read",
    ),
}


def test_refused_models(tmp_path):
    """The error has each refused model and its reason; the exit status is 1; no process is left."""
    for name, (config, _) in BROKEN.items():
        write_model(tmp_path / "repo", name, config)
    write_model(tmp_path / "repo", "good")
    ports = free_ports()
    arguments = [f"--http-port={ports.http}", f"--grpc-port={ports.grpc}", f"--metrics-port={ports.metrics}"]
    ran = run_program("serve", "repo", *arguments, cwd=tmp_path)
    assert ran.status == 1
    assert f"error: Triton refused {len(BROKEN)} models:" in ran.stderr
    lines = ran.stderr.splitlines()
    for name, (_, sentence) in BROKEN.items():
        assert [line for line in lines if line.startswith(f"  {name}: ") and sentence in line], name
    assert "good" not in ran.stderr
    assert processes_of(str(tmp_path)) == []


def test_port_in_use(server, two_networks):
    """The error comes before the start, and the hint has the option to change."""
    taken = server.ports
    ran = run_program("serve", two_networks, f"--http-port={taken.http}", cwd=two_networks.parent)
    assert ran.status == 1
    assert ran.stderr.splitlines()[-2:] == [
        f"error: port {taken.http} is in use on 127.0.0.1",
        "hint: stop the program that listens there, or choose another port with --http-port",
    ]


def test_printed_command_runs(tmp_path):
    """A shell runs the command that `serve --print` prints."""
    write_model(tmp_path / "repo", "small")
    ports = free_ports()
    arguments = [f"--http-port={ports.http}", f"--grpc-port={ports.grpc}", f"--metrics-port={ports.metrics}"]
    line = run_program("serve", "--print", "repo", *arguments, cwd=tmp_path).stdout
    with subprocess.Popen(f"exec {line}", shell=True, cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
        try:
            assert eventually(
                lambda: (
                    TritonClient(ports.grpc_url).answers() and TritonClient(ports.grpc_url).ready_models() == ("small",)
                )
            )
        finally:
            process.send_signal(signal.SIGINT)


def test_unknown_variant(tmp_path):
    """A variant that no model has is refused: Triton would silently serve the default configs."""
    folder = write_model(tmp_path / "repo", "small")
    (folder / "configs").mkdir()
    (folder / "configs" / "t4-fp16.pbtxt").write_text(SMALL_CONFIG)
    ran = run_program("serve", "repo", "--engine=embedded", "--model-config-name=t4-fp61", cwd=tmp_path)
    assert ran.status == 2
    assert (
        "error: --model-config-name t4-fp61: no model in repo has configs/t4-fp61.pbtxt\nhint: variants: t4-fp16"
        in ran.stderr
    )


def test_serve_from_python(tmp_path):
    """`tritongen.serve` serves the chosen models; errors are exceptions."""
    write_model(tmp_path / "repo", "small")
    write_model(tmp_path / "repo", "other")
    ports = free_ports()
    with tritongen.serve(tmp_path / "repo", models=["small"], ports=ports) as server:
        assert TritonClient(server.grpc_url).ready_models() == ("small",)
        with pytest.raises(PortInUse), tritongen.serve(tmp_path / "repo", ports=ports):
            pytest.fail("the port is taken")
        with urllib.request.urlopen(f"http://{ports.http_url}/v2/models/small/config") as answer:
            assert json.load(answer)["name"] == "small"
    (tmp_path / "repo" / "other" / "1" / "model.onnx").write_bytes(b"nonsense")
    with (
        pytest.raises(ServerFailed, match=r"^Triton refused other: onnx runtime error"),
        tritongen.serve(tmp_path / "repo", ports=free_ports()),
    ):
        pytest.fail("a broken model")


def test_classification_labels_come_from_the_server(server):
    """The classification extension returns ImageNet's labels."""
    answer = run_program(
        "infer", image.PHOTOGRAPHS[0], "--model", "DPN68", "--url", server.url, "--json", cwd=server.repository
    )
    assert answer.status == 0, answer.stderr
    (answered,) = answer.json["images"]
    labels = (server.repository / "dpn68" / "labels.txt").read_text().splitlines()
    module, _ = random_network(select(["dpn68"])[0], seed=0)
    photograph = image.tensor(image.load(image.PHOTOGRAPHS[0]), Preprocessing())[np.newaxis]
    logits = TorchReference(module).run({"input": photograph})[0][0]
    best = np.argsort(-logits)[:5]
    assert [guess["index"] for guess in answered["classes"]] == list(best)
    assert [guess["label"] for guess in answered["classes"]] == [labels[index] for index in best]
    assert answer.json["weights"] == "random (seed 0)"


def test_errors_and_warnings_of_infer(server, tmp_path):
    """A broken file and an unknown model are errors; random weights are a warning."""
    (tmp_path / "cut.jpg").write_bytes(image.PHOTOGRAPHS[0].read_bytes()[:5000])
    cut = run_program("infer", "cut.jpg", "-m", "dpn68", "--url", server.url, cwd=tmp_path)
    assert (cut.status, cut.stdout) == (1, "")
    assert cut.stderr.startswith("error: cut.jpg is not a readable image: image file is truncated")
    absent = run_program("infer", image.PHOTOGRAPHS[0], "-m", "resnet50", "--url", server.url, cwd=tmp_path)
    assert absent.status == 1
    assert (
        f"error: the server at {server.url} has no model 'resnet50' ready\nhint: ready models: densenet121,"
        in absent.stderr
    )
    good = run_program("infer", *image.PHOTOGRAPHS, "-m", "dpn68", "--top", "3", "--url", server.url, cwd=tmp_path)
    assert good.status == 0
    assert good.stdout.count("Label") == 2
    assert "warning: dpn68 has random (seed 0) weights: its labels are meaningless" in good.stderr


def test_running_server_sees_only_complete_models(tmp_path):
    """A polling Triton keeps answering while its model is replaced."""
    tritongen.build([TINY_DPN], output=tmp_path / "repo")
    ports = free_ports()
    line = run_program("serve", "--print", "repo", f"--http-port={ports.http}", f"--grpc-port={ports.grpc}",
                       f"--metrics-port={ports.metrics}", cwd=tmp_path).stdout.strip()  # fmt: skip
    log = tmp_path / "log"
    with (
        log.open("w") as sink,
        subprocess.Popen(
            f"exec {line} --model-control-mode=poll --repository-poll-secs=1", shell=True, cwd=tmp_path, stderr=sink
        ) as process,
    ):
        try:
            assert eventually(
                lambda: (
                    TritonClient(ports.grpc_url).answers()
                    and TritonClient(ports.grpc_url).ready_models() == (TINY_DPN.name,)
                )
            )
            for seed in (1, 2):
                tritongen.build([TINY_DPN], output=tmp_path / "repo", seed=seed)
                time.sleep(2)
                assert ask(ports.grpc_url, TINY_DPN.name, np.zeros((1, 3, 224, 224), np.float32)).shape == (1, 1000)
        finally:
            process.send_signal(signal.SIGINT)
    assert "failed to load" not in log.read_text()
    assert "Poll failed" not in log.read_text()
