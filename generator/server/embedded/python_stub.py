"""The stubs of Triton's Python backend: how their words are kept apart, and what they leave in shared memory.

The backend runs `bash -c " exec STUB MODEL …"` with nothing quoted, so that a folder's name would be read as shell: a
blank in a path makes a load hang, and `$(…)` is executed. Bash sources the file that BASH_ENV names before that; there
the words are told apart again.
"""

from __future__ import annotations

import os
import shlex
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from generator.server.ports import Ports

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (where the Python backend keeps its tensors)
REGION = "TRITONGEN_SHM_REGION"  # how regions begin, where that is not the backend's own way
WORDS_KEPT_APART = r"""
unset BASH_ENV
lib=LIB n='([0-9]+)' line=$BASH_EXECUTION_STRING region=${REGION:-triton_[^ ]*_backend_shm_region_}
[[ $line =~ ^" exec "("$lib/triton_python_backend_stub")" "(.*)" "($region[^ ]*)" "$n" "$n" "$n" "("$lib")" "$n" "([^/]*)" "(/.*)$ ]] &&
    exec "${BASH_REMATCH[@]:1}"
"""  # noqa: E501 (bash takes no line break there)


def script(backends: Path) -> str:
    """The text of the file for BASH_ENV."""
    return WORDS_KEPT_APART.replace("LIB", shlex.quote(str(backends / "python"))).replace("REGION", REGION)


@contextmanager
def own_region(ports: Ports) -> Iterator[tuple[str, dict[str, str]]]:
    """A flag for tritonserver and a variable of its process; nothing of the region is left when the context ends."""
    region = f"tritongen_{os.getpid()}_{ports.grpc}_"
    try:
        yield f"--backend-config=python,shm-region-prefix-name={region}", {REGION: region}
    finally:
        for leftover in SHARED_MEMORY.glob(f"{region}*"):
            with suppress(OSError):
                leftover.unlink()
