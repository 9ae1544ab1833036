"""The embedded engine: the pip-installed tritonserver on this machine's CPU, reachable from loopback only."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from generator.repository.source import opened
from generator.server.embedded.python_stub import own_region
from generator.server.embedded.runtime import runtime
from generator.server.lifecycle import running
from generator.server.ports import LOOPBACK, Ports, check_free
from generator.server.served_configs import RESPONSE_CACHE_FLAG, check_variant, served_configs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from generator.repository.s3.url import S3Url
    from generator.repository.source import Source
    from generator.server.embedded.runtime import Runtime
    from generator.server.lifecycle import Server


@contextmanager
def serve(
    repository: str | Path | S3Url | Source = "model_repository",
    *,
    models: Sequence[str] = (),
    ports: Ports | None = None,
    model_config_name: str | None = None,
) -> Iterator[Server]:
    """Run Triton on a repository for as long as the context lasts; every model is READY when it begins.

    Triton's log is logged at level DEBUG.

    Args:
        repository: the model repository: a folder, or `s3://bucket/prefix`, which Triton fetches by itself.
        models: which models to load; all where none is named.
        ports: 8000, 8001 and 8002 where none are given.
        model_config_name: the variant in `configs/` that is served, without `.pbtxt`.

    Raises:
        RepositoryNotFound: no such folder, or no model in it.
        StorageFailed: S3 cannot be read.
        PortInUse: another program listens on one of the ports.
        EngineMissing: Triton is not installed, or not for this Python.
        ServerFailed: Triton ended; the models that it refused are named, with its reasons.
    """
    ports = ports or Ports()
    with opened(repository) as source:
        source.check()
        check_variant(source, model_config_name, "model_config_name")
        check_free(ports)
        parts = runtime()
        line = command(parts, source, ports, models=models, model_config_name=model_config_name)
        with (
            own_region(ports) as (flag, region),
            running("embedded", [*line, flag], ports, {**parts.env, **source.env, **region}) as server,
        ):
            yield server


def command(
    parts: Runtime,
    source: Source,
    ports: Ports,
    *,
    models: Sequence[str] = (),
    model_config_name: str | None = None,
) -> list[str]:
    """The line that starts tritonserver."""
    line = [
        str(parts.tritonserver),
        f"--model-repository={source.address}",
        f"--backend-directory={parts.backends}",
        f"--cache-directory={parts.caches}",
        "--strict-readiness=true",
        "--exit-on-error=true",
    ]
    for service in ("http", "grpc", "metrics"):
        line += [f"--{service}-address={LOOPBACK}", f"--{service}-port={getattr(ports, service)}"]
    if models:
        line += ["--model-control-mode=explicit", *(f"--load-model={name}" for name in models)]
    if model_config_name:
        line.append(f"--model-config-name={model_config_name}")
    if any(config.response_cache for config in served_configs(source.folder, model_config_name, models)):
        line.append(RESPONSE_CACHE_FLAG)
    return line
