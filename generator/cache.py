"""Where tritongen keeps what it can make or fetch again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_home() -> Path:
    """`$XDG_CACHE_HOME/tritongen`, or `~/.cache/tritongen`."""
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))  # the base directory specification ignores a relative one
    return (named if named.is_absolute() else Path.home() / ".cache") / "tritongen"
