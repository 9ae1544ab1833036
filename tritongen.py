"""tritongen: from a network's name to a verified Triton model repository, and a server on it.

This module is the Python API. Each name is imported when it is first used, so that `import tritongen` loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from generator.builder.pipeline import build
    from generator.checker.repository import check
    from generator.networks.user_networks import ImageInput, TorchNetwork, onnx_network, torch_network
    from generator.server.embedded.engine import serve
    from generator.types import TensorSpec

__all__ = ["ImageInput", "TensorSpec", "TorchNetwork", "build", "check", "onnx_network", "serve", "torch_network"]

_HOME = {
    "ImageInput": "generator.networks.user_networks",
    "TensorSpec": "generator.types",
    "TorchNetwork": "generator.networks.user_networks",
    "build": "generator.builder.pipeline",
    "check": "generator.checker.repository",
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
