"""TensorRT's engines between starts: the folder that a container keeps them in, and how long a start took.

<cache>/tritongen/tensorrt/         ours alone: other users of the host do not pass
24.09-v100/                       mounted at /cache, and writable for the container's user
densenet121-fp32/               made by ONNX Runtime: engines and a timing cache
24.09-v100.json                   how long the last start took
"""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from generator.errors import OutputFailed
from generator.server.docker.container import CACHE
from generator.system.files import cache_home, write_whole

if TYPE_CHECKING:
    from collections.abc import Iterable

    from generator.server.docker.container import DockerOptions
    from generator.server.served_configs import ServedConfig

OURS_ALONE = 0o700
EVERYBODYS = 0o777  # inside a folder that is ours alone: for the container's user, whatever that is on the host


def folder(options: DockerOptions) -> Path | None:
    """Where engines of this image and GPU are kept: an engine is valid for one TensorRT and one kind of GPU.

    None on the CPU, and for a GPU that is no target: its `config.pbtxt` keeps them in the container's /tmp.
    """
    if options.variant is None or options.target is None:
        return None
    return cache_home() / "tensorrt" / f"{options.tag}-{options.target.name}"


def prepare(cache: Path) -> None:
    """Make the folder, writable for the container's user; where Docker has to make it, it is root's.

    Raises:
        OutputFailed: it cannot be made.
    """
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        cache.parent.chmod(OURS_ALONE)
        cache.mkdir(exist_ok=True)
        cache.chmod(EVERYBODYS)
    except OSError as error:
        raise OutputFailed(cache, error) from error


def missing_engines(cache: Path, configs: Iterable[ServedConfig]) -> list[str]:
    """The models whose engine the next start builds: none in the folder has their prefix."""
    return [config.model for config in configs if config.tensorrt is not None and not has_engine(cache, config)]


def has_engine(cache: Path, config: ServedConfig) -> bool:
    """Whether an engine of this config is there; one whose folder cannot be read is taken for missing."""
    parameters = config.tensorrt or {}
    inside = PurePosixPath(parameters.get("trt_engine_cache_path", ""))
    if not inside.is_relative_to(CACHE) or ".." in inside.parts:
        return False
    prefix = parameters.get("trt_engine_cache_prefix", "")
    try:
        names = [path.name for path in (cache / inside.relative_to(CACHE)).iterdir()]
    except OSError:
        return False
    return any(name.startswith(prefix) and name.endswith(".engine") for name in names)


def last_start(cache: Path) -> tuple[float, int] | None:
    """Seconds that the last start took until READY, and how many engines it built; None before the first."""
    try:
        record = json.loads(record_of(cache).read_text())
        return float(record["seconds"]), int(record["engines_built"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remember_start(cache: Path, seconds: float, engines_built: int) -> None:
    """Keep what a start took, for the word at the next."""
    write_whole(record_of(cache), json.dumps({"seconds": round(seconds, 1), "engines_built": engines_built}))


def record_of(cache: Path) -> Path:
    """Beside the folder, where no container writes."""
    return cache.parent / f"{cache.name}.json"


def expectation(cache: Path, missing: list[str]) -> str:
    """What the start will do, and how long the last one took."""
    if missing:
        engines = "a TensorRT engine" if len(missing) == 1 else f"{len(missing)} TensorRT engines"
        text = f"{engines} will be built, which takes minutes: {', '.join(missing)}"
    else:
        text = "every TensorRT engine is in the cache"
    before = last_start(cache)
    if before is None:
        return text
    seconds, built = before
    return f"{text}; the last start took {duration(seconds)} with {built} engine{'s' * (built != 1)} to build"


def duration(seconds: float) -> str:
    """`12 min 3 s`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
