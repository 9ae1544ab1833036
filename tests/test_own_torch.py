"""Torch modules of the user's own, from functions in a file of the current folder."""

import json
import sys
from functools import partial
from pathlib import Path

import onnxruntime
import pytest
import torch
from google.protobuf import text_format
from helpers import assert_near
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig

import tritongen
from generator.builder import build_model
from generator.errors import BadValue, ExportFailed, NetworkUnusable, VerificationFailed
from generator.graph import export
from generator.networks import user_networks
from generator.networks.types import Network
from generator.networks.user_networks import Plugin, TorchNetwork
from generator.types import TensorSpec
from generator.verify import samples

NETS = '''
import sys
import torch
from torch import nn

class Net(nn.Module):
    """A module with one parameter and a function of it."""
    def __init__(self, function):
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(torch.arange(1.0, 9.0))
    def forward(self, *inputs):
        return self.function(self.weight, *inputs)

def picture():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(4, 7))

def scaled(): return Net(lambda w, x: x * w)
def embedded(): return Net(lambda w, ids, x: w[ids].sum(1, keepdim=True) + x)
def pair(): return Net(lambda w, x: (x * w, x.sum(1)))
def single(): return Net(lambda w, x: [x * w])
def keyed(): return Net(lambda w, x: {"scores": x * w, "total": x.sum(1), 3: x})
def integers(): return Net(lambda w, x: nn.functional.linear(x.float(), w[None]))
def halved(): return Net(lambda w, x: x * w.half())
def double(): return Net(lambda w, x: x * w.double())
def masked(): return Net(lambda w, x, mask: (torch.where(mask, x, -x), x.argmax(1)))

class Boxes:
    @staticmethod
    def small(): return scaled()

def centred(): return Net(lambda w, x: w * (x - x.mean(0)))
def summed(): return Net(lambda w, x: x.cumsum(0))
def turned(): return Net(lambda w, x: x.flip(0))
def first(): return Net(lambda w, x: x[:1])
def total(): return Net(lambda w, x: x.sum())
def joined(): return Net(lambda w, x: x.flatten())
def looped(): return Net(lambda w, x: torch.stack([row * w for row in x]))
def unread(): return Net(lambda w, x, y: x * w)
def nothing(): return Net(lambda w, x: None)
def number(): return Net(lambda w, x: 3)
def nested(): return Net(lambda w, x: {"a": {"b": x}})
def empty(): return Net(lambda w, x: [])
def same(): return Net(lambda w, x: {"input": x * w})
def brain(): return Net(lambda w, x: x.bfloat16())
def fails():
    raise ValueError("the checkpoint\\nis gone")
def leaves():
    sys.exit("usage: nets.py")
def three(): return 3
four = 4
def odd(): return Net(lambda w, x: torch.linalg.matrix_exp(x))
'''


@pytest.fixture(name="folder")
def _folder(tmp_path, monkeypatch):
    """Make a current folder with the file, and forget its modules afterwards."""
    (tmp_path / "nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    for name in ("nets", "broken", "leaving"):
        sys.modules.pop(name, None)


def build(target, *inputs, **options):
    """Build a network from a function, and return the model or raise its error."""
    report = tritongen.build(tritongen.torch_network(target, inputs=inputs), **options)
    if report.failed:
        raise next(iter(report.failed.values()))
    return report.built[0]


def served(built):
    """Open an ONNX Runtime session on the published graph."""
    return onnxruntime.InferenceSession(built.folder / "1" / "model.onnx", providers=["CPUExecutionProvider"])


def config(built):
    """Parse the published config.pbtxt."""
    return text_format.Parse((built.folder / "config.pbtxt").read_text(), ModelConfig())


def tensors(entries):
    """Return name, type and dims of each tensor."""
    return [(entry.name, DataType.Name(entry.data_type), list(entry.dims)) for entry in entries]


def test_image_network_on_the_command_line(tritongen, tmp_path):
    """The build uses evaluation mode, the given labels and mean; user prints stay out of the data."""
    (tmp_path / "nets.py").write_text(f"print('a word')\n{NETS}")
    (tmp_path / "labels.txt").write_text("a\nb\nc\nd\ne\nf\ng\n")
    ran = tritongen(
        "build", "--torch", "nets:picture", "--input", "3x32x32", "--labels", "labels.txt", "--mean", "0,0,0", "--json",
        "--name", "My-Picture", env={"PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert ran.status == 0, ran.stderr
    (model,) = ran.json["models"]
    assert (model["model"], model["weights"], model["unbatched"]) == ("my-picture", "nets:picture", None)
    assert [batch["top1_agree"] for batch in model["certificate"]["batches"]] == [1, 4, 8]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labels.txt", "model_repository", "nets.py"]
    record = json.loads((tmp_path / "model_repository/my-picture/provenance.json").read_text())
    assert record["network"] == {
        "name": "my-picture",
        "torch": "nets:picture",
        "inputs": [{"name": "input", "datatype": "TYPE_FP32", "dims": [3, 32, 32]}],
    }
    assert record["weights"] == {"random": False, "source": "nets:picture"}
    assert (record["preprocessing"]["crop_px"], record["preprocessing"]["mean"]) == (32, [0, 0, 0])
    assert str(tmp_path) not in json.dumps(record)
    assert 'label_filename: "labels.txt"' in (tmp_path / "model_repository/my-picture/config.pbtxt").read_text()


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("function", "inputs", "expected_inputs", "expected_outputs"),
    [
        ("scaled", ["8"], [("input", "TYPE_FP32", [8])], [("output", "TYPE_FP32", [8])]),
        ("Boxes.small", ["x:8"], [("x", "TYPE_FP32", [8])], [("output", "TYPE_FP32", [8])]),
        ("single", ["8"], [("input", "TYPE_FP32", [8])], [("output", "TYPE_FP32", [8])]),
        (
            "embedded", ["ids:5:int64", "x:4"],
            [("ids", "TYPE_INT64", [5]), ("x", "TYPE_FP32", [4])], [("output", "TYPE_FP32", [4])],
        ),
        (
            "embedded", ["5:int32", "4:float64"],
            [("input_0", "TYPE_INT32", [5]), ("input_1", "TYPE_FP64", [4])], [("output", "TYPE_FP64", [4])],
        ),
        (
            "masked", ["x:8", "mask:8:bool"],
            [("x", "TYPE_FP32", [8]), ("mask", "TYPE_BOOL", [8])],
            [("output_0", "TYPE_FP32", [8]), ("output_1", "TYPE_INT64", [1])],
        ),
        (
            "pair", ["8"], [("input", "TYPE_FP32", [8])],
            [("output_0", "TYPE_FP32", [8]), ("output_1", "TYPE_FP32", [1])],
        ),
        (
            "keyed", ["8"], [("input", "TYPE_FP32", [8])],
            [("scores", "TYPE_FP32", [8]), ("total", "TYPE_FP32", [1]), ("3", "TYPE_FP32", [8])],
        ),
        ("integers", ["8:uint8"], [("input", "TYPE_UINT8", [8])], [("output", "TYPE_FP32", [1])]),
        ("halved", ["8:fp16"], [("input", "TYPE_FP16", [8])], [("output", "TYPE_FP16", [8])]),
        ("double", ["8:fp64"], [("input", "TYPE_FP64", [8])], [("output", "TYPE_FP64", [8])]),
    ],
)  # fmt: skip
def test_inputs_and_outputs_of_modules(function, inputs, expected_inputs, expected_outputs):
    """The config lists inputs and outputs in order; the graph gives the module's answers."""
    built = build(f"nets:{function}", *inputs)
    written = config(built)
    assert (tensors(written.input), tensors(written.output)) == (expected_inputs, expected_outputs)
    assert written.max_batch_size == 8
    feeds = samples.feeds([TensorSpec(*entry) for entry in expected_inputs], 3, None)
    with torch.no_grad():
        expected = user_networks.call_function(f"nets:{function}")(*map(torch.from_numpy, feeds.values()))
    answers = served(built).run(None, feeds)
    for answer, want in zip(answers, build_model.tensors(expected), strict=True):
        assert_near(answer.reshape(want.shape), want.numpy())


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("function", "why"),
    [
        ("centred", "its answer to one row depends on the other rows"),
        ("summed", "its answer to one row depends on the other rows"),
        ("turned", "its answer to one row depends on the other rows"),
        ("first", "its outputs have another number of rows than its inputs"),
        ("total", "its outputs have another number of rows than its inputs"),
        ("joined", "its outputs have another number of rows than its inputs"),
        ("looped", r"exported, 'output' has no batch dimension: its shape is \[2,8\]"),
    ],
)
def test_modules_that_mix_rows_are_refused(function, why):
    """A batch on the server holds rows of different requests, so rows must be independent."""
    with pytest.raises(NetworkUnusable, match=rf"^nets:{function} gives no network: {why}$") as raised:
        build(f"nets:{function}", "8")
    assert raised.value.hint
    assert not Path("model_repository").exists()


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("target", "sentence", "hint"),
    [
        ("nets:fails", r"ValueError: the checkpoint \(nets.py, line \d+\)", None),
        ("nets:leaves", r"SystemExit: usage: nets.py \(nets.py, line \d+\)", None),
        ("nets:three", "its value is of type int", "return a torch.nn.Module"),
        ("nets:four", "four is not a function", None),
        ("nets:nosuch", "nets has no 'nosuch'", None),
        ("nets:Boxes.nosuch", "nets has no 'nosuch'", None),
        ("nosuch:net", "ModuleNotFoundError: No module named 'nosuch'", "it is searched here and on PYTHONPATH"),
        ("nets.deeper:net", "ModuleNotFoundError: No module named 'nets.deeper'; 'nets' is not a package", "it is"),
        ("broken:net", r"SyntaxError: invalid syntax \(broken.py, line 2\)", "it is searched"),
        ("leaving:net", r"SystemExit: 4 \(leaving.py, line 2\)", "it is searched here"),
        ("nets:nothing", "it answers with something else than tensors", None),
        ("nets:number", "it answers with something else than tensors", None),
        ("nets:nested", "it answers with something else than tensors", None),
        ("nets:empty", "it answers with something else than tensors", None),
        ("nets:same", "an input and an output are both 'input'", "name the input with `inputs`"),
        (
            "nets:embedded",
            r"it does not take its inputs: .* missing 1 required positional argument: 'x'",
            "see `inputs`",
        ),
    ],
)
def test_functions_that_give_no_network(target, sentence, hint):
    """The error has the type, message, file and line of an exception in the user's code."""
    Path("broken.py").write_text("import torch\ndef net(:\n")
    Path("leaving.py").write_text("import sys\nsys.exit(4)\n")
    with pytest.raises(NetworkUnusable, match=rf"^{target} gives no network: {sentence}$") as raised:
        build(target, "8")
    assert (raised.value.hint or "").startswith(hint or "")
    assert bool(raised.value.hint) == bool(hint)
    assert not Path("model_repository").exists()


@pytest.mark.usefixtures("folder")
def test_unfitting_inputs_are_refused():
    """Wrong shapes, unused inputs, types that are not served and duplicate names are refused."""
    with pytest.raises(NetworkUnusable, match="nets:scaled gives no network: it does not take its inputs: The size of"):
        build("nets:scaled", "9")
    with pytest.raises(NetworkUnusable, match="its answer does not depend on its input 'y'"):
        build("nets:unread", "x:8", "y:8")
    with pytest.raises(NetworkUnusable, match="it answers in bfloat16"):
        build("nets:brain", "8")
    with pytest.raises(BadValue, match=r"inputs=8:string: not of the form \[NAME:\]DIMS\[:TYPE\]"):
        build("nets:scaled", "8:string")
    with pytest.raises(BadValue, match="inputs=x,x: each input needs a name of its own"):
        build("nets:embedded", "x:8", "x:8")
    assert not Path("model_repository").exists()


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("function", ["scaled", "embedded", "keyed"])
def test_build_without_the_old_exporter(monkeypatch, function):
    """The new exporter accepts the same modules, with one input and with two."""

    def gone(*_arguments):
        raise TypeError("dynamo=False is gone")

    monkeypatch.setattr(export, "export_torchscript", gone)
    inputs = ["ids:5:int64", "x:4"] if function == "embedded" else ["8"]
    built = build(f"nets:{function}", *inputs)
    assert json.loads((built.folder / "provenance.json").read_text())["graph"]["exporter"] == "dynamo"
    assert config(built).max_batch_size == 8


@pytest.mark.usefixtures("folder")
def test_operator_that_onnx_lacks(capfd):
    """The error is one line of the exporter's message, without advice, colours and the graph."""
    with pytest.raises(ExportFailed, match=r"^odd could not be exported to ONNX: .*linalg_matrix_exp") as raised:
        build("nets:odd", "3x3")
    assert str(raised.value).isprintable()
    assert capfd.readouterr().out == ""


@pytest.mark.usefixtures("folder")
def test_wrong_graph_is_not_published(monkeypatch):
    """The exported graph is compared with the module at each batch size."""
    simplify = build_model.simplify

    def damaged(*arguments):
        simplified = simplify(*arguments)
        simplified.model.graph.node[0].op_type = "Sub"
        return simplified

    monkeypatch.setattr(build_model, "simplify", damaged)
    with pytest.raises(VerificationFailed, match="scaled was not published: at batch 1 its answers differ from those"):
        build("nets:scaled", "8")


@pytest.mark.usefixtures("folder")
def test_labels_and_image_of_a_plugin():
    """The plugin's labels and normalisation are published; given labels override them."""
    Path("own.txt").write_text("a\nb\nc\nd\ne\nf\ng\n")
    Path("given.txt").write_text("1\n2\n3\n4\n5\n6\n7\n")
    image = tritongen.ImageInput(mean=(0.1, 0.2, 0.3), resize_short_px=40)
    inputs = (TensorSpec("input", "TYPE_FP32", (3, 32, 32)),)
    definition = TorchNetwork(partial(user_networks.call_function, "nets:picture"), inputs, image, Path("own.txt"))
    network = Network("mine", "Mine", Plugin("nets:network", lambda: definition), None)
    for given, expected in ((None, "a\n"), ("given.txt", "1\n")):
        (built,) = tritongen.build(network, labels=given).built
        assert (built.folder / "labels.txt").read_text().startswith(expected)
    assert config(built).parameters["tritongen.mean"].string_value == "0.1,0.2,0.3"
    assert config(built).parameters["tritongen.weights"].string_value == "plugin"
    assert json.loads((built.folder / "provenance.json").read_text())["network"] == {
        "name": "mine",
        "plugin": "nets:network",
    }


@pytest.mark.usefixtures("folder")
def test_two_builds_give_the_same_bytes():
    """The bytes do not depend on the folder, the time or the run."""
    contents = []
    for output in ("one", "two"):
        build("nets:picture", "3x32x32", output=output)
        files = [path for path in Path(output).rglob("*") if path.is_file()]
        contents.append({str(path.relative_to(output)): path.read_bytes() for path in files})
    assert contents[0] == contents[1]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("--torch nets:scaled", "--torch nets:scaled: the shape of its input is not given"),
        ("--torch nets --input 8", "--torch nets: not of the form package.module:function"),
        ("--torch nets:a:b --input 8", "--torch nets:a:b: not of the form package.module:function"),
        ("--torch nets: --input 8", "--torch nets:: not of the form package.module:function"),
        ("--torch nets:scaled --input 8,8", "--input 8,8: not of the form [NAME:]DIMS[:TYPE]"),
        ("--torch nets:scaled --input 0x8", "--input 0x8: not of the form [NAME:]DIMS[:TYPE]"),
        ("--torch nets:scaled --input 8 --onnx a.onnx", "--onnx and --torch cannot be combined"),
        ("--torch nets:scaled --input 8 --models dpn68", "--models and --torch cannot be combined"),
        ("--torch nets:scaled --input 8 --weights timm", "--weights timm: scaled has weights of its own"),
        ("--torch nets:scaled --input 8 --name dpn68", "--name dpn68: a network of tritongen has this name"),
        ("--torch nets:scaled --input 8 --name a/b", "--name 'a/b': must be letters, digits"),
        ("--weights timm --seed 3", "--seed 3: applies only to random weights, not to timm"),
        ("--weights timm --seed 0", "--seed 0: applies only to random weights, not to timm"),
    ],
)
def test_wrong_calls(tritongen, tmp_path, arguments, sentence):
    """The exit status is 2 before the user's code runs; nothing is written."""
    (tmp_path / "nets.py").write_text("raise AssertionError\n")
    ran = tritongen("build", *arguments.split())
    assert (ran.status, ran.stdout) == (2, "")
    assert ran.stderr.startswith(f"error: {sentence}")
    assert [path.name for path in tmp_path.iterdir()] == ["nets.py"]


def test_exception_on_the_command_line(tritongen, tmp_path):
    """The exit status is 1, with one error and no traceback."""
    (tmp_path / "nets.py").write_text(NETS)
    ran = tritongen("build", "--torch", "nets:fails", "--input", "8", env={"PYTHONDONTWRITEBYTECODE": "1"})
    assert (ran.status, ran.stdout) == (1, "")
    line = 1 + NETS.splitlines().index('    raise ValueError("the checkpoint\\nis gone")')
    assert ran.stderr.splitlines() == [
        "fails: failed",
        f"error: nets:fails gives no network: ValueError: the checkpoint (nets.py, line {line})",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["nets.py"]
