"""Paths that a config names: whether they stay in the model's folder and can be read."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def inside(path: Path, folder: Path) -> bool:
    """Whether a path, its links followed, is in the folder."""
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):
        return False


def unreadable(path: Path) -> str | None:
    """Why a text file cannot be opened, in the words of C's strerror, or None."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return "it is no regular file"  # to open a pipe would wait for ever
        with path.open("rb"):
            return None
    except OSError as error:
        return error.strerror or str(error)


# Labels and warm-up data that are folders end the server in the same way: tried on 2.51.0.
ABORTS_ON_A_FOLDER = (
    "terminate called after throwing an instance of 'std::length_error' what():  basic_string::_M_replace_aux"
)
