"""tritongen: from a network's name to a verified Triton model repository, and a server on it.

This module is the Python API. Each name is imported when it is first used, so that `import tritongen` loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from generator.builder.pipeline import BuildReport, build
    from generator.checker.findings import Finding
    from generator.checker.repository import check
    from generator.errors import TritongenError
    from generator.networks import networks
    from generator.networks.types import Network
    from generator.networks.user_networks import ImageInput, TorchNetwork, onnx_network, torch_network
    from generator.server.client import Classified, infer
    from generator.server.embedded.engine import serve
    from generator.server.lifecycle import Server
    from generator.types import TensorSpec
    from perf.request import measure
    from perf.runs.store import Stored

__all__ = [
    "BuildReport",
    "Classified",
    "Finding",
    "ImageInput",
    "Network",
    "Server",
    "Stored",
    "TensorSpec",
    "TorchNetwork",
    "TritongenError",
    "build",
    "check",
    "infer",
    "measure",
    "networks",
    "onnx_network",
    "serve",
    "torch_network",
]

_HOME = {
    "BuildReport": "generator.builder.pipeline",
    "Classified": "generator.server.client",
    "Finding": "generator.checker.findings",
    "ImageInput": "generator.networks.user_networks",
    "Network": "generator.networks.types",
    "Server": "generator.server.lifecycle",
    "Stored": "perf.runs.store",
    "TensorSpec": "generator.types",
    "TorchNetwork": "generator.networks.user_networks",
    "TritongenError": "generator.errors",
    "build": "generator.builder.pipeline",
    "check": "generator.checker.repository",
    "infer": "generator.server.client",
    "measure": "perf.request",
    "networks": "generator.networks",
    "onnx_network": "generator.networks.user_networks",
    "serve": "generator.server.embedded.engine",
    "torch_network": "generator.networks.user_networks",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 (the hook's own signature, PEP 562)
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__


if __name__ == "__main__":
    from generator.cli import main

    main()
