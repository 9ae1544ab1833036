"""Shared parts of the tests: the program as a user runs it, small ONNX models, real servers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from fork_server import Process, same_start
from onnx import TensorProto, helper, numpy_helper

from generator.graph.datatypes import TYPES
from generator.server.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from generator.server.ports import Ports

ROOT = Path(__file__).parent.parent
DATA = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Ran:
    """A call of the program: exit status and what it printed."""

    status: int
    stdout: str
    stderr: str

    @property
    def json(self) -> object:
        """The JSON on stdout."""
        return json.loads(self.stdout)


def run_program(*arguments: object, cwd: Path, env: dict[str, str] | None = None) -> Ran:
    """Call tritongen in a process of its own."""
    return run_python("-m", "tritongen", *arguments, cwd=cwd, env=env)


def run_python(*arguments: object, cwd: Path, env: dict[str, str] | None = None) -> Ran:
    """Call Python with `-m MODULE` or `-c CODE`; fork it if the environment allows that."""
    line = list(map(str, arguments))
    environment = {**os.environ, **(env or {})}
    with TemporaryFile("w+") as stdout, TemporaryFile("w+") as stderr:
        if same_start(environment):
            with Process(line, stdout.fileno(), stderr.fileno(), cwd=str(cwd), environment=environment) as process:
                status = process.wait()
        else:
            status = subprocess.call([sys.executable, *line], cwd=cwd, env=environment, stdout=stdout, stderr=stderr)
        stdout.seek(0)
        stderr.seek(0)
        return Ran(status, stdout.read(), stderr.read())


def small_onnx(*, batch: int | str = "N", classes: int = 1000, datatype: int = TensorProto.FLOAT) -> onnx.ModelProto:
    """[batch,3,224,224] -> [batch,classes]: an average pool and a matrix, in 24 kB."""
    weight = np.random.default_rng(0).standard_normal((3, classes)).astype(helper.tensor_dtype_to_np_dtype(datatype))
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["input"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weight"], ["output"]),
        ],
        "small",
        [helper.make_tensor_value_info("input", datatype, [batch, 3, 224, 224])],
        [helper.make_tensor_value_info("output", datatype, [batch, classes])],
        [numpy_helper.from_array(weight, "weight")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def onnx_model(nodes, inputs, outputs, constants=None, *, opset=18, ir_version=8, domain=""):
    """A graph of `(operator, inputs, outputs, attributes)` and of tensors by name, each `[datatype, *dims]`."""
    graph = helper.make_graph(
        [helper.make_node(*node[:3], **(node[3] if node[3:] else {})) for node in nodes],
        "graph",
        [helper.make_tensor_value_info(name, OF_TYPE[datatype], dims) for name, (datatype, *dims) in inputs.items()],
        [helper.make_tensor_value_info(name, OF_TYPE[datatype], dims) for name, (datatype, *dims) in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid(domain, opset)], ir_version=ir_version)


OF_TYPE = {name.removeprefix("TYPE_").lower(): row.onnx for name, row in TYPES.items()}


SMALL_CONFIG = """
backend: "onnxruntime"
max_batch_size: 8
input { name: "input" data_type: TYPE_FP32 dims: [ 3, 224, 224 ] }
output { name: "output" data_type: TYPE_FP32 dims: [ 1000 ] }
instance_group { count: 1 }
dynamic_batching { preferred_batch_size: [ 4, 8 ] max_queue_delay_microseconds: 100 }
"""


def write_model(repository: Path, name: str, config: str = SMALL_CONFIG, model: onnx.ModelProto | None = None) -> Path:
    """A model folder written by hand."""
    folder = repository / name
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.onnx").write_bytes((model or small_onnx()).SerializeToString())
    (folder / "config.pbtxt").write_text(config)
    return folder


@dataclass(frozen=True)
class Serving:
    """A running `tritongen serve` and the lines that it has printed."""

    ports: Ports
    repository: Path
    process: subprocess.Popen[str]
    lines: list[str]

    @property
    def url(self) -> str:
        """Address of the server's gRPC."""
        return self.ports.grpc_url


STOPPING: list[subprocess.Popen[str]] = []  # a stop takes Triton 3 s, in which the next test can begin


@contextmanager
def serving(repository: Path, *arguments: str) -> Iterator[Serving]:
    """Run `tritongen serve` as a user does; when the context ends, send Ctrl-C and do not wait for the end."""
    ports = free_ports()
    command = [sys.executable, "-m", "tritongen", "serve", str(repository), *arguments]
    command += [f"--http-port={ports.http}", f"--grpc-port={ports.grpc}", f"--metrics-port={ports.metrics}"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stderr is not None
    lines = []
    try:
        for line in process.stderr:
            lines.append(line)
            if line.startswith("Ctrl-C"):
                break
        else:
            pytest.fail(f"tritongen serve ended: {''.join(lines)}")
        yield Serving(ports, repository, process, lines)
    finally:
        process.send_signal(signal.SIGINT)
        STOPPING.append(process)


def wait_for_stopped_servers() -> None:
    """Wait for the end of every `tritongen serve` that the tests have stopped."""
    while STOPPING:
        STOPPING.pop().communicate()


def processes_of(needle: str) -> list[str]:
    """Return the command lines that hold this text, but not those of calls of `perf` by other tests."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, IndexError):
            continue
        if needle in line and "perf_program.py" not in line and state != "Z" and int(folder.name) != os.getpid():
            found.append(line)
    return found


def eventually(condition: Callable[[], bool], seconds: float = 30) -> bool:
    """Check ten times a second until the condition holds; return false if it does not in time."""
    for _ in range(int(seconds * 10)):
        if condition():
            return True
        time.sleep(0.1)
    return False


def ask(url: str, model: str, batch: np.ndarray) -> np.ndarray:
    """Return the server's answer to a batch of images."""
    import tritonclient.grpc as triton

    request = triton.InferInput("input", list(batch.shape), "FP32")
    request.set_data_from_numpy(batch)
    with triton.InferenceServerClient(url) as client:
        return client.infer(model, [request]).as_numpy("output")


def contents(folder):
    """Return the content of every file of a folder by path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def only(report):
    """Return the outcome and its reason from the report of a single model."""
    assert report.failed == {}
    (todo,) = report.needed.values()
    return todo.outcome, todo.why


def assert_near(answer, expected):
    """Fail unless every value is within 1e-5 of the largest one expected: some 80 roundings of float32.

    Kernels sum in an order that depends on the processor, the shapes and the threads. A sum of n terms of either sign drifts by
    about the square root of n roundings, so this holds for networks of a few layers, and a wrong answer is far outside.
    """
    values = np.abs(expected.astype(np.float64))
    largest = values.max(initial=0, where=np.isfinite(values))
    np.testing.assert_allclose(answer, expected, rtol=0, atol=1e-5 * largest)
