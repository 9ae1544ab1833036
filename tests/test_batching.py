"""A batch of fixed size made dynamic: only where each row of the answer is that row's own."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from onnx_graphs import answers, model_of, node, noise

from generator.batch_rules import RULES
from generator.batching import rows_of, with_dynamic_batch

IMAGE, ROW = (4, 6, 6), (6,)
UNARY = [
    "Abs",
    "Atan",
    "Celu",
    "Ceil",
    "Cos",
    "Elu",
    "Erf",
    "Exp",
    "Floor",
    "Gelu",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LeakyRelu",
    "Mish",
    "Neg",
    "Relu",
    "Round",
    "Selu",
    "Shrink",
    "Sigmoid",
    "Sign",
    "Sin",
    "Softplus",
    "Softsign",
    "Tan",
    "Tanh",
    "ThresholdedRelu",
]
BINARY = ["Add", "Div", "Max", "Mean", "Min", "Mul", "PRelu", "Pow", "Sub", "Sum"]
C = {"w": noise(4, 4, 3, 3), "v": noise(4), "m": noise(6, 5), "p": np.abs(noise(4)) + 1}
B, IMG = np.array([1.5], np.float32), np.array([[[1.0]], [[2.0]], [[3.0]], [[4.0]]], np.float32)


def one(operator, *inputs, shape=IMAGE, opset=20, constants=None, **attributes):
    """A graph of one node on `x`."""
    return ([node(operator, ["x", *inputs], ["y"], **attributes)], shape, opset, {**C, **(constants or {})})


# Each must become dynamic, and answer as the fixed graph does.
SAFE = {
    **{name: one(name) for name in UNARY},
    **{name: one(name, "i", constants={"i": IMG}, opset=18) for name in BINARY if name not in {"Mean", "Sum"}},
    **{name: one(name, "x") for name in ("Mean", "Sum")},
    "AveragePool": one("AveragePool", kernel_shape=[2, 2]),
    "BatchNormalization": one("BatchNormalization", "v", "v", "v", "p"),
    "Cast": one("Cast", to=TensorProto.DOUBLE),
    "Concat": one("Concat", "x", axis=1),
    "Conv": one("Conv", "w"),
    "ConvTranspose": one("ConvTranspose", "w"),
    "DepthToSpace": one("DepthToSpace", blocksize=2),
    "Flatten": one("Flatten", axis=1),
    "Gather": one("Gather", "#0,2", axis=2),
    "Gemm": one("Gemm", "m", shape=ROW),
    "InstanceNormalization": one("InstanceNormalization", "v", "v"),
    "LRN": one("LRN", size=3),
    "LayerNormalization": one("LayerNormalization", "s", shape=ROW, constants={"s": noise(6)}),
    "LogSoftmax": one("LogSoftmax", axis=1),
    "LpPool": one("LpPool", kernel_shape=[2, 2]),
    "MatMul": one("MatMul", "m", shape=ROW),
    "MaxPool": one("MaxPool", kernel_shape=[2, 2]),
    "Pad": one("Pad", "#0,0,1,1,0,0,1,1"),
    "ReduceMean": one("ReduceMean", "#2,3", opset=18),
    "ReduceMax": one("ReduceMax", "#1", opset=18, keepdims=0),
    "Reshape": one("Reshape", "#-1,144"),
    "Reshape, all sizes told": one("Reshape", "#{rows},12,12"),
    "Resize": one("Resize", "", "scales", constants={"scales": np.array([1, 1, 2, 2], np.float32)}),
    "Slice": one("Slice", "#1", "#3", "#1"),
    "Softmax": one("Softmax", axis=-1),
    "SpaceToDepth": one("SpaceToDepth", blocksize=2),
    "Split": ([node("Split", ["x"], ["y", "z"], axis=1, num_outputs=2)], IMAGE, 20, C),
    "Squeeze": ([node("GlobalMaxPool", ["x"], ["g"]), node("Squeeze", ["g", "#2,3"], ["y"])], IMAGE, 20, C),
    "Transpose": one("Transpose", perm=[0, 2, 3, 1]),
    "Unsqueeze": one("Unsqueeze", "#1,-1"),
}

# None may become dynamic: the reason names the node.
UNSAFE = {
    "softmax over the batch": one("Softmax", axis=0),
    "reduction over the batch": one("ReduceMean", "#0", opset=18),
    "reduction over everything": one("ReduceMax", opset=18),
    "flatten of the batch": one("Flatten", axis=2),
    "flatten before the batch": one("Flatten", axis=0),
    "reshape that mixes rows": one("Reshape", "#-1,2"),
    "reshape to a vector": one("Reshape", "#-1"),
    "batch moved": one("Transpose", perm=[1, 0, 2, 3]),
    "concatenation of rows": one("Concat", "x", axis=0),
    "rows gathered": one("Gather", "#0,0", axis=0),
    "rows sliced": one("Slice", "#0", "#1", "#0"),
    "rows padded": one("Pad", "#1,0,0,0,0,0,0,0"),
    "indices into the batch": ([node("MaxPool", ["x"], ["y", "z"], kernel_shape=[2, 2])], IMAGE, 20, C),
    "training": (
        [node("BatchNormalization", ["x", "v", "v", "v", "p"], ["y", "a", "b"], training_mode=1)],
        IMAGE,
        20,
        C,
    ),
    "quantized by the whole batch": ([node("DynamicQuantizeLinear", ["x"], ["y", "s", "z"])], IMAGE, 20, C),
    "sizes told": ([node("Resize", ["x", "", "", "#{rows},4,12,12"], ["y"])], IMAGE, 20, C),
    "batch on another axis": one("Add", "big", constants={"big": noise(2, 1, 1, 6, 6)}),
    "transposed": one("Gemm", "t", shape=ROW, transA=1, constants={"t": noise(3, 5)}),
    "summed over rows": ([node("MatMul", ["t", "x"], ["y"])], ROW, 20, {"t": noise(5, 3)}),
    "an operator nobody knows": one("CumSum", "axis", constants={"axis": np.array(0, np.int32)}),
    "a constant of its own rows": one("Add", "three", constants={"three": noise(3, *IMAGE)}),
}


def fixed(case, rows):
    """The graph at a fixed batch."""
    nodes, shape, opset, constants = case
    made = []
    for given in nodes:
        copy = onnx.NodeProto()
        copy.CopyFrom(given)
        copy.input[:] = [name.replace("{rows}", str(rows)) for name in given.input]
        made.append(copy)
    used = {name for given in made for name in given.input}
    return model_of(
        made,
        {"x": [rows, *shape]},
        [name for given in made for name in given.output if name not in used],
        {name: value for name, value in constants.items() if name in used},
        opset=opset,
    )


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("name", SAFE)
def test_rows_stay_what_they_are(name, rows):
    """At three times the batch, ONNX Runtime answers as the fixed graph does on each part."""
    model = fixed(SAFE[name], rows)
    assert rows_of(model) == rows
    dynamic, reason = with_dynamic_batch(model)
    assert reason is None
    onnx.checker.check_model(dynamic)
    assert dynamic.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"
    x = noise(3 * rows, *SAFE[name][1])
    parts = [answers(model, {"x": x[begin : begin + rows]}) for begin in range(0, 3 * rows, rows)]
    for together, *apart in zip(answers(dynamic, {"x": x}), *parts, strict=True):
        np.testing.assert_allclose(together, np.concatenate(apart), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", UNSAFE)
def test_what_mixes_rows_stays_fixed(name):
    """The graph is as it was, and the reason names the node."""
    model = fixed(UNSAFE[name], 3)
    before = model.SerializeToString()
    kept, reason = with_dynamic_batch(model)
    assert reason.startswith(model.graph.node[0].op_type)
    assert reason.endswith("is not known to keep the rows of a batch apart")
    assert kept.SerializeToString() == before


def test_inputs_must_share_the_batch():
    """Two that begin with different dimensions have none."""
    model = model_of([node("MatMul", ["x", "z"], ["y"])], {"x": [2, 3], "z": [3, 4]}, ["y"])
    assert with_dynamic_batch(model)[1] == "its inputs do not begin with one and the same fixed batch"


def test_an_output_that_no_input_reaches():
    """It has no rows."""
    model = model_of([node("Relu", ["x"], ["y"]), node("Neg", ["w"], ["z"])], {"x": [1, 3]}, ["y", "z"], {"w": B})
    assert with_dynamic_batch(model)[1] == "its output 'z' is not a row for each row of the input"


def test_a_branch_that_reads_the_batch():
    """What an If does with it is not looked into."""
    branch = onnx.helper.make_graph(
        [node("Relu", ["x"], ["b"])], "branch", [], [onnx.helper.make_tensor_value_info("b", TensorProto.FLOAT, [1, 3])]
    )
    choice = node("If", ["yes"], ["y"], then_branch=branch, else_branch=branch)
    model = model_of([choice], {"x": [1, 3]}, ["y"], {"yes": np.array(1, np.bool_)})
    assert "If reads the batch inside a graph of its own" in with_dynamic_batch(model)[1]


def test_the_cases_are_of_operators_that_have_rules():
    """And an operator without a rule is never let through."""
    assert {name.partition(",")[0] for name in SAFE} <= set(RULES)
    assert not {"LSTM", "DynamicQuantizeLinear", "Shape", "Expand", "Einsum", "CumSum"} & set(RULES)
