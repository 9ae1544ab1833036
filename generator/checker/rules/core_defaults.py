"""What core fills in of a config before it judges it.

Source: core, `AutoCompleteBackendFields` and `NormalizeModelConfig` (src/model_config_utils.cc). It always happens,
also with --disable-auto-complete-config.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from generator.checker.rules.outcomes import Refused

if TYPE_CHECKING:
    from pathlib import Path

    from generator.checker.rules.config_text import Config

# Backend, platform, and the file or folder that it looks for, in core's order.
BACKENDS = (
    ("tensorrt", "tensorrt_plan", "model.plan"),
    ("onnxruntime", "onnxruntime_onnx", "model.onnx"),
    ("openvino", "", "model.xml"),
    ("pytorch", "pytorch_libtorch", "model.pt"),
    ("python", "", "model.py"),
)
PLATFORM_OF = {backend: platform for backend, platform, _ in BACKENDS}
TENSORFLOW = {"model.savedmodel": "tensorflow_savedmodel", "model.graphdef": "tensorflow_graphdef"}


def filled_in(config: Config, folder: Path) -> Config:
    """The config with name, backend, platform and file name, and the normal forms of what was left out.

    Raises:
        Refused: nothing tells which backend the model is for.
    """
    config = {**config, "name": config["name"] or folder.name}
    config |= backend_fields(config, first_version_files(folder))
    if "version_policy" not in config:
        config["version_policy"] = {"latest": {"num_versions": 1}}
    batching = config.get("dynamic_batching")
    if batching is not None and not batching["preferred_batch_size"] and config["max_batch_size"] > 0:
        config["dynamic_batching"] = {**batching, "preferred_batch_size": [config["max_batch_size"]]}
    return config


def first_version_files(folder: Path) -> set[str]:
    """Names in the first folder of the model, in the order of letters; `configs` is one like any other."""
    folders = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    return {entry.name for entry in (folder / folders[0]).iterdir()} if folders else set()


def backend_fields(config: Config, files: set[str]) -> dict[str, Any]:
    """`backend`, `platform` and `default_model_filename` as far as they follow from each other and from the files.

    Source: core, src/model_config_utils.cc:1051.
    """
    backend, platform, filename = config["backend"], config["platform"], config["default_model_filename"]
    if not platform and backend in ("", "tensorflow"):
        found = filename if filename in TENSORFLOW else next((name for name in TENSORFLOW if name in files), "")
        platform = TENSORFLOW.get(found if filename in ("", found) else "", "")
    if platform in TENSORFLOW.values() or backend == "tensorflow":
        return {"backend": backend or "tensorflow", "platform": platform}
    for known, its_platform, its_file in BACKENDS:
        nothing_said = not platform and not filename
        if not backend and (
            (its_platform and platform == its_platform) or filename == its_file or (nothing_said and its_file in files)
        ):
            backend = known
        if backend == known:
            return {
                "backend": known, "platform": platform or its_platform, "default_model_filename": filename or its_file,
            }  # fmt: skip
    if not backend and not platform and not filename:
        head, dot, backend = config["name"].partition(".")
        if not dot:
            raise Refused(
                f"Invalid model name: Could not determine backend for model '{head}' with no backend in model "
                "configuration. Expected model name of the form 'model.<backend_name>'.",
                'write backend: "onnxruntime", and put model.onnx into a version folder such as 1/',
            )
        return {"backend": backend, "default_model_filename": f"model.{backend}"}
    return {"backend": backend}
