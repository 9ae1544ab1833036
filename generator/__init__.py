"""tritongen: from a network's name to a verified Triton model repository, and a server on it.

The verbs of the command line are functions here; each is imported when first used, so that `import generator`
loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from generator.checking import check
    from generator.networks.own import onnx_network, torch_network
    from generator.pipeline import build
    from generator.server.embedded import serve
    from generator.spec import ImageInput, TensorSpec, TorchNetwork

__all__ = ["ImageInput", "TensorSpec", "TorchNetwork", "build", "check", "onnx_network", "serve", "torch_network"]

_HOME = {
    "ImageInput": "generator.spec",
    "TensorSpec": "generator.spec",
    "TorchNetwork": "generator.spec",
    "build": "generator.pipeline",
    "check": "generator.checking",
    "onnx_network": "generator.networks.own",
    "serve": "generator.server.embedded",
    "torch_network": "generator.networks.own",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 (the hook's own signature, PEP 562)
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
