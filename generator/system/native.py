"""Control native libraries: what they print, the memory that they keep, and the threads of torch."""

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ctypes import CDLL
from typing import Literal

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h
LARGEST_INT = 2**31 - 1


@contextmanager
def silent(stream: Literal[1, 2] = 2) -> Iterator[None]:
    """Discard what native code prints on stdout (1) or stderr (2)."""
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


def reuse_memory() -> None:
    """Make glibc keep freed memory: a page from the kernel takes longer than the computation on it."""
    with suppress(AttributeError):  # another C library
        CDLL(None).mallopt(M_MMAP_MAX, 0)
        CDLL(None).mallopt(M_TRIM_THRESHOLD, LARGEST_INT)


@contextmanager
def older_objects_frozen() -> Iterator[None]:
    """Leave the objects that exist now out of garbage collections: torch and its kin have hundreds of thousands."""
    if gc.get_freeze_count():  # the caller has done so
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def return_memory() -> None:
    """Return freed memory to the kernel."""
    gc.collect()  # graphs of onnx-ir hold reference cycles
    with suppress(AttributeError):  # another C library
        CDLL(None).malloc_trim(0)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Run torch on a fixed number of threads: sums depend on it."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
