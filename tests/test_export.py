"""Export of a torch module to a simplified ONNX graph."""

import numpy as np
import onnxruntime
import pytest
import torch
from helpers import ROOT, assert_near

from generator.errors import ExportFailed
from generator.graph import export as exporting
from generator.graph.export import export
from generator.graph.simplify import keep_as_given, simplify
from generator.networks import INPUT
from generator.networks.architectures import DenseNetShape, DPNShape
from generator.networks.densenet import DenseNet
from generator.networks.dpn import DPN
from generator.weights.random_init import initialise

SMALL = {
    "densenet": lambda: DenseNet(DenseNetShape(8, 4, (2, 2, 2, 2)), classes=1000, bn_eps=1e-5),
    "dpn": lambda: DPN(DPNShape(8, 3, 16, 8, 4, (2, 2, 2, 2), (4, 4, 4, 4)), classes=1000, bn_eps=1e-5),
}


@pytest.fixture(name="module", params=SMALL)
def _module(request):
    """Return a small network of each family with random weights."""
    module = SMALL[request.param]()
    with torch.no_grad():
        initialise(module, np.random.default_rng(0))
    return module.eval()


def answers(model, batch):
    """Run a model with ONNX Runtime."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"input": batch})[0]


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_dynamic_batch(module, batch_size):
    """One graph gives the answers of torch for every batch size."""
    simplified = simplify("small", export("small", module, (INPUT,), ("output",)))
    batch = np.random.default_rng(0).standard_normal((batch_size, 3, 224, 224), dtype=np.float32)
    with torch.no_grad():
        expected = module(torch.from_numpy(batch)).numpy()
    assert np.abs(answers(simplified.model, batch) - expected).max() < 1e-4 * np.abs(expected).max()


def test_old_runtimes_can_read_the_graph(module):
    """Opset 18 and IR 8, named tensors, a symbolic batch, and no Constant or Identity nodes."""
    model = simplify("small", export("small", module, (INPUT,), ("output",))).model
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    assert model.ir_version == 8
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {"input": ["N", 3, 224, 224], "output": ["N", 1000]}
    assert not {"Constant", "Identity", "Shape"} & {node.op_type for node in model.graph.node}


def test_no_traces_of_this_machine(module):
    """The graph has no path, stack trace or metadata."""
    exported = export("small", module, (INPUT,), ("output",))
    assert exported.exporter == "torchscript"
    check_no_traces(simplify("small", exported).model)


def check_no_traces(model):
    """Check that a graph has no text about its machine or exporter."""
    content = model.SerializeToString()
    for text in (str(ROOT), "site-packages", "/usr/", "/root", "/home", "stack_trace", "onnxsim", ".py"):
        assert text.encode() not in content
    entries = (model, model.graph, *model.graph.node, *model.graph.input, *model.graph.output, *model.graph.initializer)
    assert not any(entry.doc_string or entry.metadata_props for entry in entries)


def test_texts_of_a_graph_are_removed(module):
    """Documentation and metadata of every part of a graph go, whoever wrote them."""
    exported = export("small", module, (INPUT,), ("output",))
    for entry in (exported.model, exported.model.graph, *exported.model.graph.node):
        entry.doc_string = "of this machine"
        entry.metadata_props.add(key="place", value="here")
    check_no_traces(keep_as_given(exported, "left as it is").model)


@pytest.mark.parametrize("module", ["dpn"], indirect=True)
def test_fallback_without_the_torchscript_exporter(module, monkeypatch, capsys):
    """The current exporter's graph simplifies to the same operators, gives the same answers, and prints nothing."""
    batch = np.random.default_rng(0).standard_normal((2, 3, 224, 224), dtype=np.float32)
    fast = simplify("small", export("small", module, (INPUT,), ("output",))).model
    monkeypatch.setattr(exporting, "export_torchscript", refuse)
    exported = export("small", module, (INPUT,), ("output",))
    slow = simplify("small", exported).model
    assert exported.exporter == "dynamo"
    assert operators(slow) == operators(fast)
    expected = answers(fast, batch)
    assert_near(answers(slow, batch), expected)
    check_no_traces(slow)
    assert capsys.readouterr().out == ""


def refuse(*_arguments):
    """Fail like a torch.onnx.export without `dynamo=False`."""
    raise TypeError("export() got an unexpected keyword argument 'dynamo'")


def operators(model):
    """Count the nodes of each operator."""
    same = {"ReduceMean": "GlobalAveragePool", "Reshape": "Flatten"}
    kinds = [same.get(node.op_type, node.op_type) for node in model.graph.node]
    return {kind: kinds.count(kind) for kind in kinds}


def test_export_error_is_one_sentence():
    """The error is the exporter's own, without its traceback."""

    class Odd(torch.nn.Module):
        def forward(self, x):
            return torch.linalg.eig(x[..., :224, :224])[0]

    with pytest.raises(ExportFailed, match=r"^odd could not be exported to ONNX: .+") as caught:
        export("odd", Odd(), (INPUT,), ("output",))
    assert "\n" not in str(caught.value)
