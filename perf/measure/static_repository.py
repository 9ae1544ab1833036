"""The published profile's copy of a repository: models for one batch size, as the published tables timed them.

The copy shares the model files; the user's repository is only read.
"""

import copy
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from generator.config.tensorrt_parameters import PROFILE_KEYS
from generator.errors import TritongenError
from generator.repository.layout import CONFIG_FILE
from generator.server.served_configs import served_configs


def write(repository: Path, folder: Path, configs: Mapping[str, Any], variant: str | None, batch_size: int) -> None:
    """Write models with one config each, of a variant, for a batch size."""
    for name, config in configs.items():
        target = folder / name
        shutil.copytree(repository / name, target, copy_function=link)
        shutil.rmtree(target / "configs", ignore_errors=True)
        text = text_format.MessageToString(static(config, batch_size))
        path = target / CONFIG_FILE
        path.unlink(missing_ok=True)  # the link, not its target
        path.write_text(text)
        if variant:
            (target / "configs").mkdir()
            (target / "configs" / f"{variant}.pbtxt").write_text(text)


def link(source: str, target: str) -> None:
    """Link a file, or copy it from another disk."""
    source = os.path.realpath(source)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def configs(repository: Path, models: Iterable[str], variant: str | None) -> dict[str, Any]:
    """Return the config of each model as a protobuf message, or raise TritongenError if one cannot be read."""
    found = {}
    for config in served_configs(repository, variant, tuple(models)):
        if config.message is None or not config.path.is_file():
            why = f"the published profile needs a complete {config.path}"
            raise TritongenError(why, "`tritongen check` says what is wrong with it")
        found[config.model] = config.message
    return found


def static(config: Any, batch_size: int) -> Any:  # noqa: ANN401 (a protobuf message)
    """Return a model's config for one batch size: one instance, no queue, TensorRT's min = opt = max; pure.

    TensorRT's engine gets another cache name, since it differs from one for several batch sizes.
    """
    made = copy.deepcopy(config)
    if made.max_batch_size:
        made.max_batch_size = batch_size
    made.ClearField("dynamic_batching")
    made.response_cache.enable = False
    for group in made.instance_group:
        group.count = 1
    del made.instance_group[1:]
    for accelerator in made.optimization.execution_accelerators.gpu_execution_accelerator:
        if accelerator.name == "tensorrt":
            parameters = accelerator.parameters
            shapes = [shape.rpartition(":") for shape in parameters.get(PROFILE_KEYS[-1], "").split(",") if shape]
            for key in PROFILE_KEYS if shapes else ():
                dims = (f"{name}:{'x'.join([str(batch_size), *shape.split('x')[1:]])}" for name, _, shape in shapes)
                parameters[key] = ",".join(dims)
            if prefix := parameters.get("trt_engine_cache_prefix"):
                parameters["trt_engine_cache_prefix"] = f"{prefix}-static-{batch_size}"
    warmups = [warmup for warmup in made.model_warmup if warmup.batch_size]
    del made.model_warmup[:]
    for warmup in warmups[:1]:
        warmup.name, warmup.batch_size = f"batch_{batch_size}", batch_size if made.max_batch_size else 1
        made.model_warmup.append(warmup)
    return made
