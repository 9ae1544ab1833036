"""Where tritongen keeps what it can make or fetch again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_home() -> Path:
    """`$XDG_CACHE_HOME/tritongen`, or `~/.cache/tritongen`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tritongen"
