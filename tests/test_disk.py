"""Disks that fail a build, full or no longer writable: each model stays the old or the new one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest
from helpers import ROOT, contents
from tiny_networks import FOUR, of

import tritongen

TESTS = Path(__file__).parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT}:{TESTS}"}


def check_each(found, states):
    """Every model is whole, and loads; how many are the new ones."""
    old, new = map(contents, states)
    news = 0
    for network in FOUR:
        files = of(found, network)
        assert files in (of(old, network), of(new, network))
        news += files == of(new, network)
        onnxruntime.InferenceSession(files[f"{network.name}/1/model.onnx"])
    assert found.keys() == old.keys()
    return news


# Mount a small disk, fill it, build, free it and build again.
ON_A_SMALL_DISK = """
import os, shutil, subprocess, sys, tiny_networks, tritongen
from generator.errors import OutputFailed
from pathlib import Path
disk, old, kept, free, jobs = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "none", disk], check=True)
shutil.copytree(old, disk / "models")
used = os.statvfs(disk)
with open(disk / "filler", "wb") as filler:
    filler.write(bytes(used.f_bavail * used.f_bsize - free))
try:
    tritongen.build(tiny_networks.FOUR, output=disk / "models", seed=2, jobs=jobs)
except OutputFailed as error:
    (kept / "error").write_text(str(error))
shutil.copytree(disk / "models", kept / "after")
(kept / "left").write_text(repr(sorted(path.name for path in disk.iterdir())))
(disk / "filler").unlink()
assert tritongen.build(tiny_networks.FOUR, output=disk / "models", seed=2, jobs=1).failed == {}
shutil.copytree(disk / "models", kept / "again")
"""


@pytest.mark.parametrize(("free_kib", "jobs"), [(0, 1), (200, 2), (800, 1)])
def test_a_full_disk(tmp_path, states, free_kib, jobs):
    """On a real disk of 32 MB: one error, nothing left behind, and the next build completes the models."""
    (tmp_path / "disk").mkdir()
    command = ["unshare", "--map-root-user", "--mount", sys.executable, "-c", ON_A_SMALL_DISK]
    done = subprocess.run(
        [*command, tmp_path / "disk", states[0], tmp_path, str(free_kib << 10), str(jobs)],
        cwd=TESTS, env=ENVIRONMENT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    error = (tmp_path / "error").read_text()
    assert error.startswith("cannot write ")
    assert error.endswith(": no space left on device")
    assert (tmp_path / "left").read_text() == "['filler', 'models']"
    assert check_each(contents(tmp_path / "after"), states) < len(FOUR)
    assert contents(tmp_path / "again") == contents(states[1])


LOST = """
import os, sys, tritongen, tiny_networks
from pathlib import Path
models = Path(sys.argv[1])
def lose(network, step):
    if step == "published":
        os.chmod(eval(sys.argv[2]), 0o555)
tritongen.build(tiny_networks.FOUR, output=models, seed=2, jobs=1, on_step=lose)
"""


@pytest.mark.parametrize(
    "lost", ["models", "models.parent / '.models.staging' / 'models'", "models / 'small-densenet'"], ids=["repository", "staging", "model"]
)  # fmt: skip
def test_a_lost_permission(tmp_path, states, lost):
    """Writing fails after the first model: one error, and the next build, which may write again, completes the models."""
    models = tmp_path / "place" / "models"
    shutil.copytree(states[0], models)
    # root without its capabilities is held to modes as anybody is
    unprivileged = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.getuid() == 0 else []
    done = subprocess.run(
        [*unprivileged, sys.executable, "-c", LOST, models, lost],
        cwd=TESTS, env=ENVIRONMENT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    said = done.stderr.strip().splitlines()[-1]
    assert said.startswith("generator.errors.OutputFailed: cannot write ")
    assert said.endswith(": permission denied")
    assert check_each(contents(models), states) >= 1
    for folder in (models.parent, *models.parent.rglob("*")):
        folder.chmod(0o755)
    assert tritongen.build(FOUR, output=models, seed=2, jobs=1).failed == {}
    assert contents(models) == contents(states[1])
    assert [path.name for path in models.parent.iterdir()] == ["models"]
