"""The embedded engine: the pip-installed tritonserver on the CPU of this machine, reachable from loopback only."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from generator.repository.s3.url import S3Url
from generator.repository.source import Source, opened
from generator.server.embedded.runtime import REGION, Runtime, runtime
from generator.server.lifecycle import Server, running
from generator.server.ports import LOOPBACK, SERVICES, Ports, check_free
from generator.server.served_configs import check_variant, served_configs, triton_arguments, variant_notes

logger = logging.getLogger(__name__)

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (the Python backend's stubs keep their tensors there)


@contextmanager
def serve(
    repository: str | Path | S3Url | Source = "model_repository",
    *,
    models: Sequence[str] = (),
    ports: Ports | None = None,
    model_config_name: str | None = None,
) -> Iterator[Server]:
    """Run Triton on a repository until the context ends; every model is READY when the context begins.

    Triton's log is logged at level DEBUG.

    Args:
        repository: the model repository: a folder, or `s3://bucket/prefix`, which Triton reads itself.
        models: the models to load; all by default.
        ports: 8000, 8001 and 8002 by default.
        model_config_name: the variant in `configs/` to serve, without `.pbtxt`.

    Raises:
        RepositoryNotFound: the folder does not exist or has no model.
        StorageFailed: S3 cannot be read.
        PortInUse: another program listens on one of the ports.
        EngineMissing: Triton is not installed, or not for this Python.
        ServerFailed: Triton ended; the error has the refused models and the reasons.
    """
    ports = ports or Ports()
    with opened(repository) as source:
        parts = runtime()
        line = command(parts, source, ports, models=models, model_config_name=model_config_name)
        check_free(ports)
        for note in variant_notes(served_configs(source.folder, model_config_name, models), model_config_name):
            logger.info(note)
        with started(parts, source, ports, line) as server:
            yield server


@contextmanager
def started(parts: Runtime, source: Source, ports: Ports, line: Sequence[str]) -> Iterator[Server]:
    """Start a command of tritonserver and stop it when the context ends; its shared memory is removed."""
    region = f"tritongen_{os.getpid()}_{ports.grpc}_"
    line = [*line, f"--backend-config=python,shm-region-prefix-name={region}"]
    try:
        with running("embedded", line, ports, {**parts.server_env, **source.env, REGION: region}) as server:
            yield server
    finally:
        for leftover in SHARED_MEMORY.glob(f"{region}*"):
            with suppress(OSError):
                leftover.unlink()


def command(
    parts: Runtime,
    source: Source,
    ports: Ports,
    *,
    models: Sequence[str] = (),
    model_config_name: str | None = None,
) -> list[str]:
    """Return the command that starts tritonserver.

    Raises:
        RepositoryNotFound: the folder does not exist or has no model.
        BadValue: no model has the variant `model_config_name`.
    """
    source.check()
    check_variant(source, model_config_name, "model_config_name")
    line = [
        str(parts.tritonserver),
        f"--model-repository={source.address}",
        f"--backend-directory={parts.backends}",
        f"--cache-directory={parts.caches}",
    ]
    for service in SERVICES:
        line += [f"--{service}-address={LOOPBACK}", f"--{service}-port={getattr(ports, service)}"]
    cached = any(config.response_cache for config in served_configs(source.folder, model_config_name, models))
    return line + triton_arguments(model_config_name, models, response_cache=cached)
