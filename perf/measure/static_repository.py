"""The published profile's working copy of a repository: models for one batch, as the published tables timed them.

The user's repository is read only; the copy shares its model files.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

from google.protobuf import text_format

from generator.config.tensorrt_parameters import PROFILE_KEYS
from generator.errors import TritongenError
from generator.repository.layout import CONFIG_FILE
from generator.server.served_configs import served_configs

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def write(repository: Path, copy: Path, models: Iterable[str], variant: str | None, batch_size: int) -> None:
    """Write the models with their one config of that variant and batch.

    Raises:
        TritongenError: a config cannot be read, or does not say the batch.
    """
    for config in served_configs(repository, variant, tuple(models)):
        source, target = repository / config.model, copy / config.model
        if config.message is None:
            raise TritongenError(f"{config.path} cannot be read", "`tritongen check` says why")
        shutil.copytree(source, target, copy_function=link, ignore=only_in(source, "configs"))
        text = text_format.MessageToString(static(config.message, batch_size))
        path = target / CONFIG_FILE
        path.unlink(missing_ok=True)  # the link, not what it leads to
        path.write_text(text)
        if variant:
            (target / "configs").mkdir()
            (target / "configs" / f"{variant}.pbtxt").write_text(text)


def only_in(folder: Path, name: str) -> Any:  # noqa: ANN401 (shutil's callback)
    """Leave out what is called so in that folder itself."""
    return lambda where, names: [name] if str(where) == str(folder) and name in names else []


def link(source: str, target: str) -> None:
    """The same file under another name; a copy where the disk is another."""
    source = os.path.realpath(source)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def largest_batches(repository: Path, models: Iterable[str], variant: str | None) -> dict[str, int]:
    """The largest batch that each model's config allows.

    Raises:
        TritongenError: a config cannot be read.
    """
    found = {}
    for config in served_configs(repository, variant, tuple(models)):
        if config.message is None or not config.path.is_file():
            raise TritongenError(
                f"the published profile needs {config.path}, complete", "`tritongen check` says what is wrong with it"
            )
        found[config.model] = max(1, config.message.max_batch_size)
    return found


def static(config: Any, batch_size: int) -> Any:  # noqa: ANN401 (a protobuf message)
    """A model's config for one batch: one instance, no queue, TensorRT's min = opt = max; pure.

    The engine is cached under a name of its own: one made for other batches is another engine.
    """
    made = type(config)()
    made.CopyFrom(config)
    if made.max_batch_size:
        made.max_batch_size = batch_size
    made.ClearField("dynamic_batching")
    made.response_cache.enable = False
    for group in made.instance_group:
        group.count = 1
    del made.instance_group[1:]
    for accelerator in made.optimization.execution_accelerators.gpu_execution_accelerator:
        if accelerator.name == "tensorrt":
            make_static(accelerator.parameters, batch_size)
    warmups = [warmup for warmup in made.model_warmup if warmup.batch_size]
    del made.model_warmup[:]
    for warmup in warmups[:1]:
        warmup.name, warmup.batch_size = f"batch_{batch_size}", batch_size if made.max_batch_size else 1
        made.model_warmup.append(warmup)
    return made


def make_static(parameters: Any, batch_size: int) -> None:  # noqa: ANN401 (a protobuf map)
    """One shape in all three ends of TensorRT's profile, and an engine of its own in the cache."""
    shapes = parameters.get(PROFILE_KEYS[-1])
    if shapes:
        for key in PROFILE_KEYS:
            parameters[key] = ",".join(of_batch(shape, batch_size) for shape in shapes.split(","))
    if prefix := parameters.get("trt_engine_cache_prefix"):
        parameters["trt_engine_cache_prefix"] = f"{prefix}-static-{batch_size}"


def of_batch(shape: str, batch_size: int) -> str:
    """`input:8x3x224x224` with another batch."""
    name, _, dims = shape.rpartition(":")
    return f"{name}:{'x'.join([str(batch_size), *dims.split('x')[1:]])}"
