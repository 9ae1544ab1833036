"""The parts of Triton 2.51 that pip installed, laid out so that they start.

The tritonserver of nvidia-pytriton and the perf_analyzer of tritonclient do not find their shared libraries and
backends by themselves. A private folder of copies per environment provides both.
"""

import filecmp
import hashlib
import os
import shlex
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from generator.errors import EngineMissing
from generator.system.files import cache_home, write_whole

# perf_analyzer loads these libraries by their plain names; the names of pip's copies have a hash.
PLAIN_NAMES = ("libb64.so.0d", "libcudart.so.12")
# tritonclient's wheel installs it beside the interpreter.
PERF_ANALYZER = Path(sys.executable).parent / "perf_analyzer"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
REGION = "TRITONGEN_SHM_REGION"  # the prefix of shared memory regions, if it is not the backend's default
# The Python backend runs `bash -c " exec STUB MODEL …"` without quotes: a blank in a path makes a load hang, and `$(…)`
# is executed. Bash first sources the file in BASH_ENV. This file splits the line into the intended words.
STUB_SCRIPT = r"""
unset BASH_ENV
lib=LIB n='([0-9]+)' line=$BASH_EXECUTION_STRING region=${REGION:-triton_[^ ]*_backend_shm_region_}
[[ $line =~ ^" exec "("$lib/triton_python_backend_stub")" "(.*)" "($region[^ ]*)" "$n" "$n" "$n" "("$lib")" "$n" "([^/]*)" "(/.*)$ ]] &&
    exec "${BASH_REMATCH[@]:1}"
"""  # noqa: E501 (bash allows no line break there)


@dataclass(frozen=True)
class Runtime:
    """The paths of Triton's parts, and the variables that tritonserver, its stub and perf_analyzer need."""

    tritonserver: Path
    backends: Path
    caches: Path
    env: dict[str, str]

    @property
    def server_env(self) -> dict[str, str]:
        """Return the variables of tritonserver: it sees no GPU, since the backend computes on the CPU."""
        return {**self.env, "CUDA_VISIBLE_DEVICES": ""}


def runtime() -> Runtime:
    """Find Triton's parts and lay them out.

    Raises:
        EngineMissing: a part is missing, or the package has no stub for this Python.
    """
    package = installed_package()
    server = package / "tritonserver"
    libraries = package.parent / "nvidia_pytriton.libs"
    stub = server / "python_backend_stubs" / PYTHON / "triton_python_backend_stub"
    for part in (server / "bin" / "tritonserver", libraries, stub):
        if not part.exists():
            raise EngineMissing("embedded", f"nvidia-pytriton has no {part.name} for Python {PYTHON}")
    home = home_folder(package)
    # Copies, no links: core rejects a library behind a symbolic link that leaves the backend directory.
    backends = home / "backends"
    for name in ("libtriton_python.so", "triton_python_backend_utils.py"):
        place(backends / "python" / name, server / "backends" / "python" / name)
    place(backends / "python" / stub.name, stub, executable=True)
    place(backends / "onnxruntime/model.py", Path(__file__).parent / "backends/onnxruntime/model.py")
    script = STUB_SCRIPT.replace("LIB", shlex.quote(str(backends / "python"))).replace("REGION", REGION)
    write_whole(home / "stub.bash", script)
    for name in PLAIN_NAMES:
        stem, _, version = name.partition(".so")
        library = next(libraries.glob(f"{stem}-*.so{version}*"), None)
        if library is None:
            raise EngineMissing("embedded", f"nvidia-pytriton has no {name}")
        place(home / "lib" / name, library)
    tritonserver = server / "bin" / "tritonserver"
    if not os.access(tritonserver, os.X_OK):
        place(home / "bin" / "tritonserver", tritonserver, executable=True)
        tritonserver = home / "bin" / "tritonserver"
    library_path = [libraries, home / "lib", sysconfig.get_config_var("LIBDIR") or "/usr/lib"]
    inherited = os.environ.get("LD_LIBRARY_PATH", "").split(":")
    env = {
        "LD_LIBRARY_PATH": ":".join([*map(str, library_path), *filter(None, inherited)]),
        # The stub's embedded Python finds site-packages through the first `python3` on PATH.
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
        "BASH_ENV": str(home / "stub.bash"),
    }
    return Runtime(tritonserver, backends, server / "caches", env)


def installed_package() -> Path:
    """Return the folder of nvidia-pytriton, without importing the package."""
    spec = find_spec("pytriton")
    if spec is None or spec.origin is None:
        raise EngineMissing("embedded", "nvidia-pytriton is not installed", "pip install nvidia-pytriton==0.7.0")
    return Path(spec.origin).parent


def home_folder(package: Path) -> Path:
    """Make the folder for this user and environment."""
    key = hashlib.sha256(f"{package}\0{Path(__file__)}\0{PYTHON}".encode()).hexdigest()[:12]
    home = cache_home() / f"triton-{key}"
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        hint = "set XDG_CACHE_HOME to a folder you may write to"
        raise EngineMissing("embedded", f"{home} cannot be created: {error.strerror}", hint) from error
    return home


def place(copy: Path, source: Path, *, executable: bool = False) -> None:
    """Copy a file if the copy is missing or differs; another process may do the same at this time."""
    if copy.exists() and filecmp.cmp(source, copy, shallow=False):
        return
    copy.parent.mkdir(parents=True, exist_ok=True)
    partial = copy.with_name(f".{copy.name}.{os.getpid()}")
    shutil.copyfile(source, partial)
    if executable:
        partial.chmod(0o755)
    partial.replace(copy)
