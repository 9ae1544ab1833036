"""Graphs are simplified without their large weights, and serialized one weight at a time."""

import onnx
import onnxsim
import pytest
import torch
from onnx import numpy_helper
from onnx_graphs import model_of, node, noise
from tiny_networks import FOUR

from generator.graph.export import export
from generator.graph.header import encode_varint
from generator.graph.simplify import detachable_weights, serialized, simplify_without_weights
from generator.networks import INPUT
from generator.weights.random_init import random_network

BN = {"scale": noise(16), "b": noise(16), "mean": noise(16), "var": abs(noise(16)) + 1}
W = {"w": noise(16, 8, 3, 3)}  # 4.6 kB
NORM = ("BatchNormalization", ["c", *BN], ["y"])
CONV = ("Conv", ["x", "w"], ["c"])
# What is beside a convolution, and whether its weights may be taken out.
CASES = {
    "nothing": ([("Conv", ["x", "w"], ["y"])], W, True),
    "an activation": ([CONV, ("Relu", ["c"], ["y"])], W, True),
    "a batch norm that is folded into it": ([CONV, NORM], W | BN, False),
    "a factor after it": ([CONV, ("Mul", ["c", "f"], ["y"])], W | {"f": noise(1, 16, 1, 1)}, False),
    "a factor before it": (
        [("Mul", ["x", "f"], ["z"]), ("Conv", ["z", "w"], ["y"])],
        W | {"f": noise(1, 8, 1, 1)},
        False,
    ),
    "another reader": ([CONV, ("ReduceMean", ["w"], ["m"], {"keepdims": 0}), ("Add", ["c", "m"], ["y"])], W, False),
    "its input is a weight too": ([("Conv", ["w", "w2"], ["y"])], W | {"w2": noise(4, 8, 1, 1)}, False),
    "a small one": ([("Conv", ["x", "w"], ["y"])], {"w": noise(4, 8, 1, 1)}, False),
}


def graph(case):
    """Return the model of a case, and True if its weight can be detached."""
    nodes, constants, apart = CASES[case]
    made = [node(*one[:3], **(one[3] if one[3:] else {})) for one in nodes]
    return model_of(made, {"x": ("N", 8, 10, 10)}, {"y": None}, constants), apart


def parts(model):
    """Return the content of a model without the order of its constants."""
    inner = model.graph
    return (
        [one.SerializeToString() for one in inner.node],
        sorted((tensor.name, tuple(tensor.dims), numpy_helper.to_array(tensor).tobytes()) for tensor in inner.initializer),
        sorted(value.SerializeToString(deterministic=True) for value in inner.value_info),
        [value.SerializeToString() for value in (*inner.input, *inner.output)],
        model.ir_version, [(entry.domain, entry.version) for entry in model.opset_import],
    )  # fmt: skip


def simplified(model):
    """Simplify with onnxsim alone."""
    return onnxsim.simplify(model)[0]


@pytest.mark.parametrize("case", CASES)
def test_same_result_as_onnxsim(case):
    """The result equals that of onnxsim on the whole graph."""
    model, apart = graph(case)
    assert bool(detachable_weights(model)) is apart
    expected = parts(simplified(model))
    assert parts(simplify_without_weights(model, simplified)) == expected


@pytest.mark.parametrize("network", FOUR, ids=lambda network: network.name)
def test_same_result_for_networks(network):
    """Weights of exported networks are detached, and the result equals that of onnxsim."""
    module, _ = random_network(network, 0)
    with torch.no_grad():
        model = export(network.name, module, (INPUT,), ("output",)).model
    expected = parts(simplified(model))
    assert detachable_weights(model)
    assert parts(simplify_without_weights(model, simplified)) == expected


def test_subgraphs_prevent_detaching():
    """The nodes of an If or Loop may read weights of the outer graph."""
    inner = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["w"], ["v"])], "inner", [], [])
    model, _ = graph("nothing")
    model.graph.node.append(onnx.helper.make_node("If", ["x"], ["z"], then_branch=inner, else_branch=inner))
    assert detachable_weights(model) == frozenset()


def test_sparse_constants_prevent_detaching():
    """A simplifier may turn sparse constants into dense ones."""
    model, apart = graph("nothing")
    assert apart
    model.graph.sparse_initializer.append(onnx.SparseTensorProto(dims=[4]))
    assert detachable_weights(model) == frozenset()


@pytest.mark.parametrize("case", CASES)
def test_serialized_pieces(case):
    """The pieces form a file with the same model, and the given model is unchanged."""
    model, _ = graph(case)
    model.doc_string, model.graph.doc_string = "of the model", "of the graph"
    before = model.SerializeToString(deterministic=True)
    written = b"".join(serialized(model))
    assert onnx.ModelProto.FromString(written) == model
    assert model.SerializeToString(deterministic=True) == before
    assert len(written) == len(before)


@pytest.mark.parametrize("number", [0, 1, 127, 128, 300, 16_383, 16_384, 2**31, 2**35 + 7])
def test_varint(number):
    """The encoded number is read by protobuf."""
    read = onnx.TensorProto.FromString(b"\x10" + encode_varint(number & 0x7FFFFFFF))
    assert read.data_type == number & 0x7FFFFFFF
    shifted = sum((byte & 0x7F) << 7 * place for place, byte in enumerate(encode_varint(number)))
    assert shifted == number
