"""TensorRT engines that are kept between starts, and the duration of the last start.

<cache>/tritongen/tensorrt/         of this user alone: other users of the host cannot enter
  24.09-v100/                       mounted at /cache, and writable for the container's user
    densenet121-fp32/               engines and a timing cache, written by ONNX Runtime
  24.09-v100.json                   duration of the last start
"""

import json
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from generator.errors import OutputFailed
from generator.server.docker.container import CACHE, DockerOptions
from generator.server.served_configs import ServedConfig, tensorrt_parameters
from generator.system.files import cache_home, write_whole

ONLY_THIS_USER = 0o700
EVERY_USER = 0o777  # in a folder of this user alone: the container's user has another number on the host


def engine_folder(options: DockerOptions) -> Path | None:
    """Make the folder for engines of an image and GPU: an engine is valid for one TensorRT and one kind of GPU.

    The container's user may write there; a folder that Docker makes belongs to root. Return None on the CPU and for a
    GPU that is no target: its `config.pbtxt` keeps engines in the container's /tmp.

    Raises:
        OutputFailed: the folder cannot be made.
    """
    if options.variant is None or options.target is None:
        return None
    folder = cache_home() / "tensorrt" / f"{options.tag}-{options.target.name}"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.parent.chmod(ONLY_THIS_USER)
        folder.mkdir(exist_ok=True)
        folder.chmod(EVERY_USER)
    except OSError as error:
        raise OutputFailed(folder, error) from error
    return folder


def missing_engines(cache: Path, configs: Iterable[ServedConfig]) -> list[str]:
    """Return the models whose engine the next start builds: no file in the cache has the prefix of the engine."""
    parameters = {config.model: tensorrt_parameters(config.message) for config in configs}
    return [model for model, tensorrt in parameters.items() if tensorrt is not None and not has_engine(cache, tensorrt)]


def has_engine(cache: Path, parameters: dict[str, str]) -> bool:
    """Return True if the cache has the engine of TensorRT parameters, False also if it cannot be read."""
    folder = PurePosixPath(parameters.get("trt_engine_cache_path", ""))
    if not folder.is_relative_to(CACHE) or ".." in folder.parts:
        return False
    prefix = parameters.get("trt_engine_cache_prefix", "")
    try:
        names = [path.name for path in (cache / folder.relative_to(CACHE)).iterdir()]
    except OSError:
        return False
    return any(name.startswith(prefix) and name.endswith(".engine") for name in names)


def start_record(cache: Path) -> Path:
    """Return the file with the duration of the last start, which no container can write."""
    return cache.parent / f"{cache.name}.json"


def remember_start(cache: Path, seconds: float, engines_built: int) -> None:
    """Write the duration of a start and the number of engines that it built."""
    write_whole(start_record(cache), json.dumps({"seconds": round(seconds, 1), "engines_built": engines_built}))


def expected_start(cache: Path, missing: list[str]) -> str:
    """Describe which engines a start will build, and how long the last start took."""
    if missing:
        engines = "a TensorRT engine" if len(missing) == 1 else f"{len(missing)} TensorRT engines"
        text = f"{engines} will be built, which takes minutes: {', '.join(missing)}"
    else:
        text = "every TensorRT engine is in the cache"
    try:
        record = json.loads(start_record(cache).read_text())
        minutes, seconds = divmod(round(float(record["seconds"])), 60)
        built = int(record["engines_built"])
    except (OSError, ValueError, KeyError, TypeError):  # before the first start
        return text
    duration = f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
    return f"{text}; the last start took {duration} with {built} engine{'s' * (built != 1)} to build"
