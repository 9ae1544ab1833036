"""tritongen: from a network's name to a verified Triton model repository, and a server on it.

The verbs of the command line are functions here; each is imported when first used, so that `import generator`
loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from generator.pipeline import build
    from generator.server.embedded import serve

__all__ = ["build", "serve"]

_HOME = {"build": "generator.pipeline", "serve": "generator.server.embedded"}


def __getattr__(name: str) -> Any:  # noqa: ANN401 (the hook's own signature, PEP 562)
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
