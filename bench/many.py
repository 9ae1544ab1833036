"""How time and memory grow with the number of models: 25, 50, 100 and 200 tiny ONNX files, a folder of each.

Each row is of whole commands: a build, the same build again, a check, and a server from its start until every model is
READY. The embedded server runs a process a model, which its memory is mostly of.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import onnx
from building import Peak, ours
from onnx import TensorProto, helper

from generator.server.embedded.engine import serve
from generator.server.ports import free_ports

COUNTS = (25, 50, 100, 200)


def main() -> None:
    """A row a count."""
    print("models | build s (GB) | again s | check s (GB) | READY s (GB)")
    for count in COUNTS:
        with tempfile.TemporaryDirectory() as folder:
            files, repository = Path(folder) / "files", Path(folder) / "models"
            files.mkdir()
            for number in range(count):
                onnx.save(tiny(number), files / f"net{number:03}.onnx")
            build = ["build", "--onnx", str(files), "--output", str(repository)]
            build_s, build_bytes = ours(build)
            again_s, _ = ours(build)
            check_s, check_bytes = ours(["check", str(repository)])
            ready_s, ready_bytes = until_ready(repository)
        cells = (
            timed(build_s, build_bytes),
            f"{again_s:.1f}",
            timed(check_s, check_bytes),
            timed(ready_s, ready_bytes),
        )
        print(" | ".join((str(count), *cells)), flush=True)


def tiny(number: int) -> onnx.ModelProto:
    """[N,4] times a constant, another one for each."""
    factor = helper.make_tensor("factor", TensorProto.FLOAT, [1], [float(number)])
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Mul", ["x", "factor"], ["y"])], "tiny", value[:1], value[1:], [factor])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def until_ready(repository: Path) -> tuple[float, int]:
    """Seconds until every model is READY, and what all processes of the server then have."""
    peak = Peak()
    begin = time.perf_counter()
    with serve(repository, ports=free_ports()):
        seconds = time.perf_counter() - begin
        time.sleep(2)  # for a last look at its memory
    peak.ended.set()
    return seconds, peak.bytes


def timed(seconds: float, peak_bytes: int) -> str:
    """`12.3 (0.65)`."""
    return f"{seconds:.1f} ({peak_bytes / 1e9:.2f})"


if __name__ == "__main__":
    main()
