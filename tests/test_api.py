"""The Python API: the module `tritongen`."""

import subprocess
import sys

import pytest

import tritongen
from generator.errors import BadValue, ImageUnreadable, UsageError


def test_every_name_exists():
    """Each exported name can be imported; no other attribute exists."""
    assert all(getattr(tritongen, name) is not None for name in tritongen.__all__)
    assert sorted(tritongen.__all__) == tritongen.__all__
    assert set(tritongen.__all__) <= set(dir(tritongen))
    assert not hasattr(tritongen, "nosuch")


def test_older_scripts_import_from_generator():
    """The names are also those of `generator`, whatever was imported before."""
    code = (
        "import generator.builder.pipeline, generator.checker.repository\n"
        "from generator import build, check, onnx_network, serve, TensorSpec, TorchNetwork\n"
        "import tritongen\nassert (build, check, serve) == (tritongen.build, tritongen.check, tritongen.serve)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_import_loads_no_torch():
    """`import tritongen` is quick: no torch, onnx, numpy or matplotlib."""
    code = "import sys, tritongen; print({'torch', 'onnx', 'numpy', 'matplotlib'} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_networks():
    """The ten networks come first, in the order of the published tables."""
    names = [network.name for network in tritongen.networks()]
    assert names[:10] == [
        "densenet121", "densenet161", "densenet169", "densenet201", "densenet264",
        "dpn68", "dpn92", "dpn98", "dpn107", "dpn131",
    ]  # fmt: skip


def test_infer_reads_the_images_first(tmp_path):
    """A broken image is refused before a server is started."""
    (tmp_path / "text.jpg").write_text("text")
    with pytest.raises(ImageUnreadable, match=r"text\.jpg is not a readable image"):
        tritongen.infer(tmp_path / "text.jpg", "densenet121", repository=tmp_path / "none")
    with pytest.raises(BadValue, match="repository"):
        tritongen.infer([], "densenet121", repository="")


def test_measure_refuses_what_contradicts_the_device(tmp_path):
    """The message names the parameter; nothing is measured or written."""
    with pytest.raises(BadValue, match="shared_memory=cuda"):
        tritongen.measure("dpn68", gpu="cpu", shared_memory="cuda", results=tmp_path)
    with pytest.raises(UsageError, match="models"):
        tritongen.measure([], gpu="cpu", results=tmp_path)
    assert list(tmp_path.iterdir()) == []
