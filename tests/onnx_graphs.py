"""Small ONNX graphs written by hand, and what ONNX Runtime says of them."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

node = helper.make_node


def model_of(nodes, inputs, outputs, constants=None, *, opset=18, types=None, domains=()):
    """A model whose shapes are inferred.

    Inputs are floats unless `types` has another type; `#1,-2` among a node's inputs is the constant [1, -2] in int64.
    """
    integers = {name for made in nodes for name in made.input if name.startswith("#")}
    arrays = {name: np.array([int(part) for part in name[1:].split(",")], np.int64) for name in sorted(integers)}
    graph = helper.make_graph(
        nodes,
        "graph",
        [tensor(name, shape, types) for name, shape in inputs.items()],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in (arrays | (constants or {})).items()],
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10 if opset > 20 else 8)
    return onnx.shape_inference.infer_shapes(model)


def tensor(name, shape, types=None):
    """A declared input or output of a graph."""
    return helper.make_tensor_value_info(name, (types or {}).get(name, TensorProto.FLOAT), shape)


def noise(*shape, seed=0):
    """Floats of a normal distribution."""
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def answers(model, feeds):
    """All outputs, by ONNX Runtime on one thread with its own optimisations off."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def operators(model):
    """The operators of its nodes in order of the alphabet, a word each."""
    return " ".join(sorted(made.op_type for made in model.graph.node))
