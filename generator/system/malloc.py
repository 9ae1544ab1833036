"""Memory that the C library's allocator keeps, where that is glibc's."""

from __future__ import annotations

import gc
from contextlib import suppress
from ctypes import CDLL

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h
LARGEST_INT = 2**31 - 1


def reuse_memory() -> None:
    """Keep what is freed, large blocks too: asked of the kernel each time, pages take longer than the work on them."""
    with suppress(AttributeError):
        CDLL(None).mallopt(M_MMAP_MAX, 0)
        CDLL(None).mallopt(M_TRIM_THRESHOLD, LARGEST_INT)


def return_memory() -> None:
    """Give the system back what was freed, where much was and nothing so large follows."""
    gc.collect()  # onnx-ir's graphs refer to themselves
    with suppress(AttributeError):
        CDLL(None).malloc_trim(0)
