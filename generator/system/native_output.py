"""The output of native code, kept from the user's terminal."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def silent(stream: Literal[1, 2] = 2) -> Iterator[None]:
    """Keep from the user what native code prints there, as onnxsim's does of constants that it leaves as they are."""
    (sys.stdout, sys.stderr)[stream - 1].flush()
    kept = os.dup(stream)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, stream)
        yield
    finally:
        os.dup2(kept, stream)
        os.close(kept)
        os.close(nowhere)
