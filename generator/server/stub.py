"""The stubs of Triton's Python backend: how they are started, and what they leave in shared memory.

The backend runs `bash -c " exec STUB MODEL …"` with nothing quoted, so that a folder's name would be read as shell: a
blank in a path makes a load hang, and `$(…)` is executed. Bash sources the file that BASH_ENV names before that; there
the words are told apart again.
"""

from __future__ import annotations

import os
import shlex
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from generator.server.runtime import Runtime
    from generator.spec import Ports

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (where the Python backend keeps its tensors)
WORDS_KEPT_APART = r"""
unset BASH_ENV
lib=LIB n='([0-9]+)' line=$BASH_EXECUTION_STRING
[[ $line =~ ^" exec "("$lib/triton_python_backend_stub")" "(.*)" "(REGION[^ ]*)" "$n" "$n" "$n" "("$lib")" "$n" "([^/]*)" "(/.*)$ ]] &&
    exec "${BASH_REMATCH[@]:1}"
"""  # noqa: E501 (bash takes no line break there)


@contextmanager
def stubs(parts: Runtime, ports: Ports) -> Iterator[tuple[list[str], dict[str, str]]]:
    """A flag for tritonserver and the variables of its process; nothing is left when the context ends."""
    region = f"tritongen_{os.getpid()}_{ports.grpc}_"
    try:
        with tempfile.TemporaryDirectory(prefix="tritongen-") as folder:
            script = Path(folder) / "stub.bash"
            library = shlex.quote(str(parts.backends / "python"))
            script.write_text(WORDS_KEPT_APART.replace("REGION", region).replace("LIB", library))
            flag = f"--backend-config=python,shm-region-prefix-name={region}"
            yield [flag], {**parts.env, "BASH_ENV": str(script)}
    finally:
        for leftover in SHARED_MEMORY.glob(f"{region}*"):
            with suppress(OSError):
                leftover.unlink()
