"""The implementation of the Python API, which is the module `tritongen`."""

import logging
from importlib import import_module
from typing import Any

logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:  # noqa: ANN401 (the hook's own signature, PEP 562)
    """Return a name of the API: plugins and scripts older than the module `tritongen` import from here."""
    api = import_module("tritongen")
    if name in api.__all__:
        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
