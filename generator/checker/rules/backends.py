"""The backend of a model: the fields that core fills in before it checks a config, and the backend's library.

Source: core, `AutoCompleteBackendFields` and `NormalizeModelConfig` (src/model_config_utils.cc), also with
--disable-auto-complete-config; `TritonModel::Create` (src/backend_model.cc). No library is loaded here.
"""

from pathlib import Path
from typing import Any

from generator.checker.rules.basics import INTERNAL, Config, Refusal, Row

CHECKED = "onnxruntime"
# Backend, platform, and the file or folder that the backend looks for, in core's order.
BACKENDS = (
    ("tensorrt", "tensorrt_plan", "model.plan"),
    ("onnxruntime", "onnxruntime_onnx", "model.onnx"),
    ("openvino", "", "model.xml"),
    ("pytorch", "pytorch_libtorch", "model.pt"),
    ("python", "", "model.py"),
)
TENSORFLOW = {"model.savedmodel": "tensorflow_savedmodel", "model.graphdef": "tensorflow_graphdef"}
PLATFORMS: dict[str, tuple[str, ...]] = {
    "tensorflow": tuple(TENSORFLOW.values()),
    **{backend: (platform,) for backend, platform, _ in BACKENDS if platform},
}
# The backends of NVIDIA's image.
IN_THE_IMAGE = {
    *(backend for backend, _, _ in BACKENDS), "tensorflow", "dali", "fil", "identity", "repeat", "square",
}  # fmt: skip


def completed(config: Config, folder: Path) -> Config:
    """Return the config with the fields that core fills in; raise Refusal if the backend cannot be determined."""
    made = {**config, "name": config["name"] or folder.name}
    # The first folder in alphabetical order, even if it is `configs`.
    first = min((entry for entry in folder.iterdir() if entry.is_dir()), default=None)
    made |= backend_fields(made, {entry.name for entry in first.iterdir()} if first else set())
    made.setdefault("version_policy", {"latest": {"num_versions": 1}})
    batching = made.get("dynamic_batching")
    if batching is not None and not batching["preferred_batch_size"] and made["max_batch_size"] > 0:
        made["dynamic_batching"] = {**batching, "preferred_batch_size": [made["max_batch_size"]]}
    return made


def backend_fields(config: Config, files: set[str]) -> dict[str, Any]:
    """Return the fields as they follow from each other and from the files (core, src/model_config_utils.cc:1051)."""
    backend, platform, filename = config["backend"], config["platform"], config["default_model_filename"]
    if not platform and backend in ("", "tensorflow"):
        present = filename if filename in TENSORFLOW else next((name for name in TENSORFLOW if name in files), "")
        platform = TENSORFLOW.get(present if filename in ("", present) else "", "")
    if platform in TENSORFLOW.values() or backend == "tensorflow":
        return {"backend": backend or "tensorflow", "platform": platform}
    unknown = not platform and not filename
    for known, its_platform, its_file in BACKENDS:
        named = (its_platform and platform == its_platform) or filename == its_file
        if backend == known or (not backend and (named or (unknown and its_file in files))):
            return {
                "backend": known, "platform": platform or its_platform, "default_model_filename": filename or its_file,
            }  # fmt: skip
    if backend or not unknown:
        return {"backend": backend}
    head, dot, backend = config["name"].partition(".")
    if not dot:
        raise Refusal(
            f"Invalid model name: Could not determine backend for model '{head}' with no backend in model "
            "configuration. Expected model name of the form 'model.<backend_name>'.",
            'write backend: "onnxruntime", and put model.onnx into a version folder such as 1/',
        )
    return {"backend": backend, "default_model_filename": f"model.{backend}"}


def backend_rows(config: Config, folder: Path, version: str) -> list[Row]:
    """Return the rows for the backend's library, which is in NVIDIA's image or beside the model.

    Source: core, src/backend_model.cc:402 and :441; for Python, python_backend, src/pb_stub.cc.
    """
    backend, runtime, name = config["backend"], config["runtime"], config["name"]
    library, script = f"libtriton_{backend}.so", folder / version / (config["default_model_filename"] or "model.py")
    in_python = backend == "python" and not runtime
    missing = (
        not in_python
        and not any((place / (runtime or library)).is_file() for place in (folder / version, folder))
        and not (backend in IN_THE_IMAGE and runtime in ("", library))
    )
    return [
        (in_python and not script.is_file(), f"Python model file not found in '{script}'", "put model.py there",
         ("backend",), INTERNAL),
        (missing and runtime,
         (f"unable to find backend library '{runtime}' for model '{name}', searched: '{folder / version}' '{folder}' "
          f"'/opt/tritonserver/backends/{backend}' "), "leave runtime out", ("runtime",)),
        (missing,
         (f"unable to find backend library for backend '{backend}', try specifying runtime on the model "
          "configuration."), 'backend: "onnxruntime" serves ONNX models', ("backend",)),
    ]  # fmt: skip
