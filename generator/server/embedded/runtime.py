"""What pip installed of Triton 2.51, laid out so that it starts.

The tritonserver of nvidia-pytriton and the perf_analyzer of tritonclient find neither their shared libraries nor
their backends by themselves; a private folder of copies, made once an environment, gives them both.
"""

from __future__ import annotations

import filecmp
import hashlib
import os
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from generator.errors import EngineMissing
from generator.server.embedded.python_stub import script
from generator.system.files import cache_home, write_whole

# Libraries that perf_analyzer asks for by their plain names; pip's copies have a hash in theirs.
PLAIN_NAMES = ("libb64.so.0d", "libcudart.so.12")
# tritonclient's wheel installs it beside the interpreter.
PERF_ANALYZER = Path(sys.executable).parent / "perf_analyzer"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True)
class Runtime:
    """Where the parts are."""

    tritonserver: Path
    backends: Path
    caches: Path
    libraries: Path
    plain_libraries: Path
    stub_script: Path

    @property
    def env(self) -> dict[str, str]:
        """Variables that tritonserver, its Python stub and perf_analyzer need."""
        own = [self.libraries, self.plain_libraries, Path(sysconfig.get_config_var("LIBDIR") or "/usr/lib")]
        inherited = os.environ.get("LD_LIBRARY_PATH", "").split(":")
        return {
            "LD_LIBRARY_PATH": ":".join([*map(str, own), *filter(None, inherited)]),
            # The stub's embedded Python finds site-packages through the first `python3` on PATH.
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
            "BASH_ENV": str(self.stub_script),
        }


def runtime() -> Runtime:
    """Find the parts and lay them out.

    Raises:
        EngineMissing: a part is not there, or this Python has no stub in the package.
    """
    package = installed_package()
    server = package / "tritonserver"
    libraries = package.parent / "nvidia_pytriton.libs"
    stub = server / "python_backend_stubs" / PYTHON / "triton_python_backend_stub"
    for part in (server / "bin" / "tritonserver", libraries, stub):
        if not part.exists():
            raise EngineMissing("embedded", f"nvidia-pytriton has no {part.name} for Python {PYTHON}")
    home = home_folder(package)
    python_backend = server / "backends" / "python"
    # Copies: core takes a library behind a symbolic link for one that escapes the backend directory.
    place(home / "backends/python/libtriton_python.so", python_backend / "libtriton_python.so")
    place(
        home / "backends/python/triton_python_backend_utils.py",
        python_backend / "triton_python_backend_utils.py",
    )
    place(home / "backends/python/triton_python_backend_stub", stub, executable=True)
    place(home / "backends/onnxruntime/model.py", Path(__file__).parent / "backends/onnxruntime/model.py")
    write_whole(home / "stub.bash", script(home / "backends"))
    for name in PLAIN_NAMES:
        stem, _, version = name.partition(".so")
        found = next(libraries.glob(f"{stem}-*.so{version}*"), None)
        if found is None:
            raise EngineMissing("embedded", f"nvidia-pytriton has no {name}")
        place(home / "lib" / name, found)
    tritonserver = server / "bin" / "tritonserver"
    if not os.access(tritonserver, os.X_OK):
        place(home / "bin" / "tritonserver", tritonserver, executable=True)
        tritonserver = home / "bin" / "tritonserver"
    return Runtime(
        tritonserver=tritonserver,
        backends=home / "backends",
        caches=server / "caches",
        libraries=libraries,
        plain_libraries=home / "lib",
        stub_script=home / "stub.bash",
    )


def installed_package() -> Path:
    """The folder of nvidia-pytriton, without importing it."""
    spec = find_spec("pytriton")
    if spec is None or spec.origin is None:
        raise EngineMissing("embedded", "nvidia-pytriton is not installed", "pip install nvidia-pytriton==0.7.0")
    return Path(spec.origin).parent


def home_folder(package: Path) -> Path:
    """A folder of this user's for this environment; two environments do not share one."""
    key = hashlib.sha256(f"{package}\0{Path(__file__)}\0{PYTHON}".encode()).hexdigest()[:12]
    home = cache_home() / f"triton-{key}"
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EngineMissing(
            "embedded",
            f"{home} cannot be made: {error.strerror}",
            "set XDG_CACHE_HOME to a folder you may write to",
        ) from error
    return home


def place(copy: Path, source: Path, *, executable: bool = False) -> None:
    """Copy a file where it is missing or differs; another process may be doing the same."""
    if copy.exists() and filecmp.cmp(source, copy, shallow=False):
        return
    copy.parent.mkdir(parents=True, exist_ok=True)
    partial = copy.with_name(f".{copy.name}.{os.getpid()}")
    shutil.copyfile(source, partial)
    if executable:
        partial.chmod(0o755)
    partial.replace(copy)
