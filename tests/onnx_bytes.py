"""ONNX files byte by byte."""

import numpy as np
import onnx
from helpers import onnx_model
from onnx import TensorProto, helper, numpy_helper

DATA = ("float_data", "int32_data", "string_data", "int64_data", "raw_data", "double_data", "uint64_data")

SMALL_BYTES = 1024

INPUT = {"x": ["fp32", "N"]}

OUTPUT = {"y": ["fp32", "N"]}


def without_data(message):
    """Delete what `read_header` is to leave out, field by named field."""
    if isinstance(message, onnx.TensorProto):
        for name in DATA if message.ByteSize() > SMALL_BYTES else ():
            message.ClearField(name)
    inner = {
        onnx.ModelProto: ("graph", "functions", "training_info"),
        onnx.TrainingInfoProto: ("initialization", "algorithm"),
        onnx.GraphProto: ("initializer", "sparse_initializer", "node"),
        onnx.FunctionProto: ("node", "attribute_proto"),
        onnx.NodeProto: ("attribute",),
        onnx.AttributeProto: ("t", "g", "tensors", "graphs", "sparse_tensor", "sparse_tensors"),
        onnx.SparseTensorProto: ("values", "indices"),
    }
    for name in inner.get(type(message), ()):
        value = getattr(message, name)
        if isinstance(value, onnx.TensorProto | onnx.GraphProto | onnx.SparseTensorProto):
            value = [value] if message.HasField(name) else []
        for each in value:
            without_data(each)
    return message


def tensor(name, count=1000, seed=0):
    """A tensor of random floats, in raw_data."""
    return numpy_helper.from_array(np.random.default_rng(seed).random(count, np.float32), name)


def elsewhere(name, location):
    """A tensor with its data in a file of their own."""
    made = onnx.TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[7], data_location=TensorProto.EXTERNAL)
    made.external_data.add(key="location", value=location)
    made.external_data.add(key="offset", value="4096")
    return made


def sparse(values, indices):
    """A sparse tensor of these."""
    return helper.make_sparse_tensor(values, indices, [100_000])


def graph_of(*nodes, initializer=()):
    """A graph as an attribute has it."""
    return helper.make_graph(nodes, "inner", [], [onnx.ValueInfoProto(name="y")], initializer)


def constant(name, value, **attributes):
    """A node that holds a tensor."""
    return helper.make_node("Constant", [], [name], value=value, **attributes)


def with_nodes(*nodes):
    """An Identity, and nodes."""
    model = onnx_model([("Identity", ["x"], ["y"])], INPUT, OUTPUT)
    model.graph.node.extend(nodes)
    return model


def branches():
    """An If in a Loop, each with tensors."""
    choice = helper.make_node(
        "If",
        ["c"],
        ["z"],
        then_branch=graph_of(constant("y", tensor("then"))),
        else_branch=graph_of(initializer=[tensor("y"), tensor("tiny", 1)]),
    )
    loop = helper.make_node("Loop", ["n", "c"], ["l"], body=graph_of(choice, initializer=[tensor("body")]))
    return with_nodes(loop, helper.make_node("Own", [], ["o"], domain="own", graphs=[graph_of(choice), graph_of()]))


def functions():
    """Tensors in a function's nodes and in its attributes' defaults, and in training graphs."""
    model = with_nodes()
    default = helper.make_attribute("weight", tensor("default"))
    model.functions.append(
        helper.make_function(
            "own", "F", ["x"], ["y"], [constant("y", tensor("f"))], [helper.make_opsetid("", 18)], [], [default]
        )
    )
    model.training_info.add().algorithm.CopyFrom(graph_of(constant("y", tensor("gradient"))))
    return model


def sparse_tensors():
    """Yield the sparse tensors of a graph and of its nodes."""
    indices = numpy_helper.from_array(np.arange(1000), "indices")
    made = sparse(tensor("values"), indices)
    model = with_nodes(
        helper.make_node("Constant", [], ["s"], sparse_value=made),
        helper.make_node("Own", [], ["o"], domain="own", several=[made, made]),
    )
    model.graph.sparse_initializer.append(made)
    return model


def external():
    """Data of the graph, of a node, of a branch and of a function in other files, some in one."""
    model = with_nodes(
        constant("k", elsewhere("k", "node.bin")),
        helper.make_node("If", ["c"], ["i"], then_branch=graph_of(initializer=[elsewhere("b", "branch.bin")])),
    )
    model.graph.initializer.extend([tensor("w"), elsewhere("v", "weights.bin"), elsewhere("u", "more.bin")])
    model.graph.initializer.append(elsewhere("t", "weights.bin"))
    model.graph.sparse_initializer.append(sparse(elsewhere("s", "sparse.bin"), elsewhere("i", "weights.bin")))
    here = tensor("here", 1)
    here.external_data.add(key="location", value="unused.bin")
    model.graph.initializer.append(here)
    nodes = [constant("y", elsewhere("f", "functions/f.bin")), constant("z", elsewhere("g", "node.bin"))]
    model.functions.append(helper.make_function("own", "F", ["x"], ["y"], nodes, [helper.make_opsetid("", 18)]))
    return model


def varint(number):
    """A number on the wire."""
    return bytes([number]) if number < 128 else bytes([number % 128 + 128]) + varint(number // 128)


def field(number, content):
    """A field with a length on the wire."""
    return varint(number << 3 | 2) + varint(len(content)) + content
