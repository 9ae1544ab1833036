"""Whether a server has the library of a backend.

Source: core, `TritonModel::Create` (src/backend_model.cc): beside the model, else in the backend directory. Nothing of
it is loaded here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from generator.checker.rules.core_defaults import BACKENDS
from generator.checker.rules.outcomes import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    Config = Mapping[str, Any]

JUDGED = "onnxruntime"
# The others of NVIDIA's image.
IN_THE_IMAGE = {backend for backend, _, _ in BACKENDS} | {
    "tensorflow", "dali", "fil", "identity", "repeat", "square",
}  # fmt: skip


def backend_is_there(config: Config, folder: Path, version: str) -> None:
    """In NVIDIA's image, or beside the model.

    Source: core, src/backend_model.cc:402 and :441.
    """
    backend, runtime, name = config["backend"], config["runtime"], config["name"]
    library = f"libtriton_{backend}.so"
    beside = [place / (runtime or library) for place in (folder / version, folder)]
    if backend == "python" and not runtime:
        check_python(config, folder / version)
        return
    if any(path.is_file() for path in beside) or (backend in IN_THE_IMAGE and runtime in ("", library)):
        return
    if runtime:
        raise Refused(
            f"unable to find backend library '{runtime}' for model '{name}', searched: '{folder / version}' '{folder}' "
            f"'/opt/tritonserver/backends/{backend}' ",
            "leave runtime out",
            ("runtime",),
        )
    raise Refused(
        f"unable to find backend library for backend '{backend}', try specifying runtime on the model configuration.",
        'backend: "onnxruntime" serves ONNX models',
        ("backend",),
    )


def check_python(config: Config, version: Path) -> None:
    """The Python backend's model is a file of its own (python_backend, src/pb_stub.cc)."""
    path = version / str(config["default_model_filename"] or "model.py")
    if not path.is_file():
        raise Refused(f"Python model file not found in '{path}'", "put model.py there", ("backend",), "Internal")
