"""The example plugin, installed with pip, and broken plugins."""

import os
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest
import tritonclient.grpc as triton
from helpers import ROOT, assert_near, run_program, serving

EXAMPLE = ROOT / "examples" / "plugin"


@pytest.fixture(scope="module", name="installed")
def _installed(tmp_path_factory):
    """The folder into which pip installed the example."""
    folder = tmp_path_factory.mktemp("site")
    line = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*line, "--target", str(folder), str(EXAMPLE)], check=True, capture_output=True, text=True)
    return folder


def with_plugin(folder):
    """Return an environment in which the plugin is installed."""
    return {"PYTHONPATH": os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH", ""))))}


def broken(folder, code):
    """Install a package whose entry point is `broken`."""
    (folder / "broken.py").write_text(code)
    info = folder / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[tritongen.networks]\nbroken = broken:network\n")
    return with_plugin(folder)


def test_the_example_is_short():
    """The example has at most twenty lines."""
    assert len((EXAMPLE / "tinynet.py").read_text().splitlines()) <= 20


def test_list_counts_a_plugin(installed, tmp_path):
    """`list` shows the plugin beside the ten networks, without published figures."""
    listed = run_program("list", "--models", "tinynet,dpn68", "--json", cwd=tmp_path, env=with_plugin(installed))
    assert listed.status == 0, listed.stderr
    dpn, tiny = listed.json
    assert (dpn["model"], tiny["model"]) == ("dpn68", "tinynet")
    # 16 filters of 3x3x3 and a bias at 16x16 places; 10 classes of 16 features and a bias.
    assert tiny["parameters"] == 16 * 28 + 10 * 17
    assert tiny["flops"] == 2 * (16 * 27 * 256 + 160)
    assert tiny["published_top1"] is None


@pytest.mark.server
def test_plugin_is_built_and_served(installed, tmp_path):
    """The server gives the answers of the ONNX file."""
    built = run_program("build", "--models", "TinyNet", cwd=tmp_path, env=with_plugin(installed))
    assert built.status == 0, built.stderr
    repository = tmp_path / "model_repository"
    images = np.random.default_rng(0).standard_normal((3, 3, 32, 32), dtype=np.float32)
    session = onnxruntime.InferenceSession(repository / "tinynet" / "1" / "model.onnx")
    (expected,) = session.run(None, {"image": images})
    request = triton.InferInput("image", list(images.shape), "FP32")
    request.set_data_from_numpy(images)
    with serving(repository) as running, triton.InferenceServerClient(running.url) as client:
        answer = client.infer("tinynet", [request]).as_numpy("output")
    assert_near(answer, expected)


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("import nosuchmodule\n", "error: broken:network gives no network: ModuleNotFoundError: No module named"),
        ("network = 3\n", "error: broken:network gives no network: its value is of type int"),
        (
            "from tritongen import TensorSpec, TorchNetwork\n"
            "network = TorchNetwork(lambda: 1 / 0, (TensorSpec('x', 'TYPE_FP32', (3,)),))\n",
            "error: broken gives no network: ZeroDivisionError: division by zero (broken.py, line 2)",
        ),
        (
            "from torch import nn\n"
            "from tritongen import TensorSpec, TorchNetwork\n"
            "network = TorchNetwork(lambda: nn.Linear(3, 2), (TensorSpec('x', 'TYPE_FP32', (4,)),))\n",
            "error: broken gives no network: it ",
        ),
        (
            "import sys\nsys.exit('usage')\n",
            "error: broken:network gives no network: SystemExit: usage (broken.py, line 2",
        ),
    ],
)
def test_broken_plugin_does_not_hide_others(code, sentence, tmp_path):
    """The broken plugin is one error; the other networks are listed."""
    (tmp_path / "site").mkdir()
    env = broken(tmp_path / "site", code)
    listed = run_program("list", "--models", "broken,dpn68", cwd=tmp_path, env=env)
    assert listed.status == 1
    assert "dpn68" in listed.stdout
    assert sentence in listed.stderr
    built = run_program("build", "--models", "broken", cwd=tmp_path, env=env)
    assert built.status == 1
    assert sentence in built.stderr
    assert "Traceback" not in listed.stderr + built.stderr
    assert not (tmp_path / "model_repository").exists()


def test_table_has_a_row_for_a_plugin(installed, tmp_path):
    """Figures that are not published are dashes."""
    listed = run_program("list", "--models", "tinynet", cwd=tmp_path, env=with_plugin(installed))
    assert listed.status == 0
    (row,) = [line.split() for line in listed.stdout.splitlines() if line.startswith("tinynet")]
    assert row == ["tinynet", "0.001", "-", "-", "0.000", "-", "-", "-", "-"]


def test_plugin_is_built_beside_a_broken_one(installed, tmp_path):
    """The exit status is 1 for the broken plugin; its prints do not enter the data."""
    (tmp_path / "site").mkdir()
    paths = [with_plugin(installed), broken(tmp_path / "site", "print('a word')\nnetwork = 3\n")]
    env = {"PYTHONPATH": os.pathsep.join(path["PYTHONPATH"] for path in paths)}
    listed = run_program("list", "--models", "broken,tinynet", "--json", cwd=tmp_path, env=env)
    assert (listed.status, [row["model"] for row in listed.json]) == (1, ["tinynet"])
    built = run_program("build", "--models", "broken,tinynet", "--json", cwd=tmp_path, env=env)
    assert (built.status, [row["model"] for row in built.json["models"]]) == (1, ["tinynet"])
    assert built.json["failed"] == {"broken": "broken:network gives no network: its value is of type int"}
    assert [path.name for path in (tmp_path / "model_repository").iterdir()] == ["tinynet"]
