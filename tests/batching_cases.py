"""Graphs with a fixed batch by operator: those that keep rows independent, and those that mix them."""

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnx_graphs import model_of, node, noise, tensor

IMAGE, ROW = (4, 6, 6), (4,)

BOOL, INT8, INT64 = TensorProto.BOOL, TensorProto.INT8, TensorProto.INT64

CONSTANTS = {
    "four": noise(4), "positive": np.abs(noise(4)) + 1, "plane": noise(4, 1, 1), "filters": noise(4, 4, 3, 3),
    "matrix": noise(4, 5), "five": noise(5), "tenth": np.float32(0.1), "tenths": np.float32([0.1, 0.2, 0.3, 0.4]),
    "one_row": noise(1, 4), "three_rows": noise(3, 4), "three_images": noise(3, *IMAGE), "longer": noise(2, 3, 4),
    "stack": noise(3, 4, 5), "one_stack": noise(1, 4, 5), "square": noise(4, 4), "three": noise(3), "one": noise(1),
    "tall": noise(3, 5), "wide": noise(5, 3), "yes": np.array(1, np.bool_), "half": np.float32(0.5),
    "twice": np.float32([1, 1, 2, 2]), "twice_rows": np.float32([2, 1]), "twice_columns": np.float32([1, 2]),
    "region": np.float32([1, 0, 1, 1]), "lengths": np.array([2, 2]), "axis_0": np.array(0, np.int32),
    "blocks": np.float32([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]]), "one_block": np.float32([[0.1, 0.2]]),
    "gates": noise(1, 8, 4), "recurrent": noise(1, 8, 2), "nothing": np.array([], np.int64),
}  # fmt: skip


def graph(*nodes, x=ROW, opset=20, types=None, z=None, domains=()):
    """A graph at a number of rows that is said later: inputs `x`, and `z` where it has a shape, are without the batch.

    `{rows}` among a node's inputs becomes that number; what no node reads is an output.
    """

    def fixed(rows):
        made = [renamed(given, rows) for given in nodes]
        read = {name for given in made for name in given.input}
        outputs = [name for given in made for name in given.output if name and name not in read]
        constants = {name: CONSTANTS[name] for name in sorted(read & set(CONSTANTS))}
        shapes = {"x": [rows, *x]} | ({} if z is None else {"z": [rows, *z]})
        return model_of(made, shapes, outputs, constants, opset=opset, types=types, domains=domains)

    return fixed


def renamed(given, rows):
    """Return the node for a number of rows."""
    made = onnx.NodeProto()
    made.CopyFrom(given)
    made.input[:] = [name.replace("{rows}", str(rows)) for name in given.input]
    return made


def one(operator, *inputs, outputs=("y",), x=ROW, opset=20, types=None, z=None, **attributes):
    """Return a graph of one node that reads `x`, then the other inputs."""
    return graph(node(operator, ["x", *inputs], list(outputs), **attributes), x=x, opset=opset, types=types, z=z)


PLAIN = """
    Abs Acos Asin Atan Ceil Celu Cos Elu Erf Exp Floor Gelu GlobalAveragePool GlobalMaxPool HardSigmoid HardSwish
    Identity IsInf IsNaN LeakyRelu Log Mish Neg Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Softplus Softsign
    Sqrt Tan Tanh ThresholdedRelu"""

BINARY = "Add Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean Min Mul PRelu Pow Sub Sum"

LOGICAL = "And Or Xor"

REDUCING = """
    ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
    ReduceSumSquare"""

# Each must be made dynamic; the first word is the operator.
SAFE = {
    **{name: one(name, x=IMAGE) for name in PLAIN.split()},
    **{name: one(name, "plane", x=IMAGE) for name in BINARY.split()},
    **{f"{name} of two rows": one(name, "z", z=ROW) for name in BINARY.split()},
    **{name: one(name, "z", z=ROW, types={"x": BOOL, "z": BOOL}) for name in LOGICAL.split()},
    **{name: one(name, "#1,-1", x=IMAGE, keepdims=0) for name in REDUCING.split()},
    **{f"{name} by attribute": one(name, x=IMAGE, opset=12, axes=[-2, 3]) for name in REDUCING.split()},
    "Add of a scalar": one("Add", "half"),
    "Add of one row": one("Add", "one_row"),
    "Add of a number first": graph(node("Add", ["half", "x"], ["y"])),
    "Add of itself": one("Add", "x"),
    "ArgMax": one("ArgMax", x=IMAGE, axis=1),
    "ArgMin": one("ArgMin", x=IMAGE, axis=-1, keepdims=0),
    "AveragePool": one("AveragePool", x=IMAGE, kernel_shape=[2, 2], pads=[1, 1, 0, 0], count_include_pad=1),
    "BatchNormalization": one("BatchNormalization", "four", "four", "four", "positive", x=IMAGE),
    "BatchNormalization in opset 9": one("BatchNormalization", "four", "four", "four", "positive", x=IMAGE, opset=9),
    "BatchNormalization of rows": one("BatchNormalization", "four", "four", "four", "positive", training_mode=0),
    "Cast": one("Cast", to=TensorProto.DOUBLE),
    "Clip": one("Clip", "", "half"),
    "Clip in opset 6": one("Clip", opset=7, min=0.0, max=0.5),
    "Concat": one("Concat", "z", x=IMAGE, z=(2, 6, 6), axis=1),
    "Concat along the last axis": one("Concat", "x", axis=-1),
    "Conv": one("Conv", "filters", "four", x=IMAGE, pads=[1, 1, 1, 1]),
    "Conv without a bias": one("Conv", "filters", "", x=IMAGE),
    "ConvTranspose": one("ConvTranspose", "filters", x=IMAGE, strides=[2, 2]),
    "DepthToSpace": one("DepthToSpace", x=IMAGE, blocksize=2),
    "DequantizeLinear": one("DequantizeLinear", "tenths", x=IMAGE, types={"x": INT8}),
    "Dropout": one("Dropout", outputs=["y", "mask"]),
    "Dropout in opset 7": one("Dropout", opset=7, ratio=0.5),
    "Flatten": one("Flatten", x=IMAGE),
    "Flatten counted from the end": one("Flatten", x=IMAGE, axis=-3),
    "Gather": one("Gather", "#0,2", x=IMAGE, axis=2),
    "Gather counted from the end": one("Gather", "#0,2", x=IMAGE, axis=-3),
    "Gather from a table": graph(node("Gather", ["matrix", "x"], ["y"]), types={"x": INT64}),
    "Gemm": one("Gemm", "matrix", "five", alpha=0.5),
    "Gemm without a bias": one("Gemm", "square", transB=1),
    "Hardmax": one("Hardmax", x=IMAGE, axis=1),
    "InstanceNormalization": one("InstanceNormalization", "four", "positive", x=IMAGE),
    "LRN": one("LRN", x=IMAGE, size=3),
    "LayerNormalization": one("LayerNormalization", "four", "positive", outputs=["y", "mean", "inverse"]),
    "LayerNormalization without an output between": one("LayerNormalization", "four", outputs=["y", "", "inverse"]),
    "LogSoftmax": one("LogSoftmax", x=IMAGE, axis=1),
    "LpPool": one("LpPool", x=IMAGE, kernel_shape=[2, 2]),
    "MatMul": one("MatMul", "matrix"),
    "MatMul with a vector": one("MatMul", "four"),
    "MatMul of stacks": one("MatMul", "matrix", x=(2, 4)),
    "MatMul with one stack": one("MatMul", "one_stack", x=(2, 4)),
    "MatMul stack by stack": one("MatMul", "z", x=(2, 4), z=(4, 3)),
    "MatMul from the left": graph(node("MatMul", ["tall", "x"], ["y"]), x=(5, 2)),
    "MatMul with a vector from the left": graph(node("MatMul", ["four", "x"], ["y"]), x=(4, 2)),
    "MaxPool": one("MaxPool", x=IMAGE, kernel_shape=[3, 3], ceil_mode=1, strides=[2, 2]),
    "Mod": one("Mod", "positive", fmod=1),
    "Not": one("Not", types={"x": BOOL}),
    "Pad": one("Pad", "#0,0,1,1,0,0,1,-1", x=IMAGE),
    "Pad with a value": one("Pad", "#0,1,0,2", "half"),
    "Pad in opset 10": one("Pad", x=IMAGE, opset=10, pads=[0, 0, 1, 1, 0, 0, 1, 1], mode="reflect"),
    "QuantizeLinear": one("QuantizeLinear", "tenths", x=IMAGE, axis=-3),
    "QuantizeLinear by one scale": one("QuantizeLinear", "tenth"),
    "Reshape in which 0 is no copy": one("Reshape", "#{rows},2,2", allowzero=1),
    "Reshape": one("Reshape", "#{rows},12,12", x=IMAGE),
    "Reshape with a rest": one("Reshape", "#-1,144", x=IMAGE),
    "Reshape that keeps": one("Reshape", "#0,0,-1", x=IMAGE),
    "Reshape of a column": one("Reshape", "#{rows},1", x=()),
    "Resize": one("Resize", "", "twice", x=IMAGE, mode="linear"),
    "Resize in opset 10": one("Resize", "twice", x=IMAGE, opset=10),
    "Resize of axes": one("Resize", "", "twice_columns", x=IMAGE, axes=[-2, 3]),
    "Slice": one("Slice", "#1", "#3", "#1"),
    "Slice of two axes": one("Slice", "#-1,0", "#-5,6", "#-1,2", "#-2,3", x=IMAGE),
    "Slice in opset 9": one("Slice", opset=9, starts=[1], ends=[3], axes=[1]),
    "Softmax": one("Softmax"),
    "Softmax in opset 11": one("Softmax", x=IMAGE, opset=11),
    "SpaceToDepth": one("SpaceToDepth", x=IMAGE, blocksize=2),
    "Split": one("Split", outputs=["y", "z"], axis=1, num_outputs=2),
    "Split by lengths": one("Split", "#1,3", outputs=["y", "z"], opset=13, axis=-1),
    "Split in opset 11": one("Split", outputs=["y", "z"], opset=11, axis=1, split=[3, 1]),
    "Squeeze": one("Squeeze", "#1,-1", x=(1, 4, 1)),
    "Squeeze in opset 11": one("Squeeze", x=(1, 4), opset=11, axes=[1]),
    "TopK": one("TopK", "#2", outputs=["y", "places"]),
    "TopK of the least": one("TopK", "#2", outputs=["y", "places"], x=IMAGE, axis=1, largest=0),
    "Transpose": one("Transpose", x=IMAGE, perm=[0, 2, 3, 1]),
    "Unsqueeze": one("Unsqueeze", "#1,-1"),
    "Unsqueeze in opset 11": one("Unsqueeze", opset=11, axes=[1]),
    "Upsample": one("Upsample", "twice", x=IMAGE, opset=9),
    "Where": graph(node("Greater", ["x", "half"], ["c"]), node("Where", ["c", "x", "one_row"], ["y"])),
}  # fmt: skip

BODY = helper.make_graph(
    [node("Identity", ["c"], ["d"]), node("Relu", ["v"], ["w"])],
    "body",
    [tensor("i", [], {"i": INT64}), tensor("c", [], {"c": BOOL}), tensor("v", None)],
    [tensor("d", [], {"d": BOOL}), tensor("w", None)],
)

# None may be made dynamic, and the reason begins with the operator; some break with one row, some with several.
UNSAFE = {
    "ReduceMean over the batch": one("ReduceMean", "#0"),
    "ReduceMean over the batch, counted from the end": one("ReduceMean", "#-2"),
    "ReduceMean over the batch too": one("ReduceMean", "#1,0"),
    "ReduceMean over the batch, by attribute": one("ReduceMean", opset=12, axes=[0]),
    "ReduceMean over everything": one("ReduceMean"),
    "ReduceMean over everything, said by name": one("ReduceMean", ""),
    "ReduceMean over everything, in opset 11": one("ReduceMean", opset=11),
    "ReduceSum over everything, by an empty list": one("ReduceSum", "nothing"),
    "ReduceSum over computed axes": graph(node("Abs", ["#1"], ["a"]), node("ReduceSum", ["x", "a"], ["y"])),
    "Softmax over the batch": one("Softmax", axis=0),
    "Softmax over the batch, counted from the end": one("Softmax", axis=-2),
    "Softmax over everything, in opset 11": one("Softmax", opset=11, axis=0),
    "Softmax over the batch alone": one("Softmax", x=()),
    "LogSoftmax over the batch": one("LogSoftmax", axis=0),
    "Hardmax over the batch": one("Hardmax", axis=0),
    "LayerNormalization over the batch": one("LayerNormalization", "half", axis=0),
    "TopK of the batch": one("TopK", "#1", outputs=["y", "places"], axis=0),
    "ArgMax over the batch": one("ArgMax"),
    "ArgMin over the batch": one("ArgMin", axis=-2),
    "Flatten of everything": one("Flatten", x=IMAGE, axis=0),
    "Flatten of everything, counted from the end": one("Flatten", x=IMAGE, axis=-4),
    "Flatten of the batch": one("Flatten", x=IMAGE, axis=2),
    "Flatten of the batch, counted from the end": one("Flatten", x=IMAGE, axis=-2),
    "Reshape to a vector": one("Reshape", "#-1"),
    "Reshape to half rows": one("Reshape", "#-1,2"),
    "Reshape to columns": one("Reshape", "#4,-1"),
    "Reshape of nothing": one("Reshape", "#0,-1,2", x=(2, 0)),
    "Reshape to a computed shape": graph(node("Abs", ["lengths"], ["s"]), node("Reshape", ["x", "s"], ["y"])),
    "Transpose by default": one("Transpose"),
    "Transpose of the batch": one("Transpose", x=IMAGE, perm=[1, 0, 2, 3]),
    "Concat of rows": one("Concat", "x", axis=0),
    "Concat of rows, counted from the end": one("Concat", "x", axis=-2),
    "Split of rows": one("Split", "#1,{rows}", outputs=["y", "z"], x=IMAGE),
    "Squeeze of everything": one("Squeeze", x=(1, 4)),
    "Squeeze of computed axes": graph(node("Abs", ["#1"], ["a"]), node("Squeeze", ["x", "a"], ["y"]), x=(1, 4)),
    "Unsqueeze before the batch": one("Unsqueeze", "#0"),
    "Unsqueeze before the batch, counted from the end": one("Unsqueeze", "#-3"),
    "Unsqueeze before the batch, by attribute": one("Unsqueeze", opset=11, axes=[0, 1]),
    "Unsqueeze of computed axes": graph(node("Abs", ["#1"], ["a"]), node("Unsqueeze", ["x", "a"], ["y"])),
    "Add of a longer constant": one("Add", "longer"),
    "Add of rows of another length": one("Add", "z", z=(4, 4)),
    "Add of what has an unknown shape": graph(
        node("Abs", ["lengths"], ["l"]), node("Split", ["four", "l"], ["s", "t"]), node("Add", ["x", "s"], ["y"]),
        x=(2,),
    ),
    "Gemm of columns": one("Gemm", "wide", transA=1),
    "Gemm from the right": graph(node("Gemm", ["matrix", "x"], ["y"], transA=1), x=(5,)),
    "Gemm as what is added": graph(node("Gemm", ["tall", "wide", "x"], ["y"]), x=(3,)),
    "MatMul of two batches": one("MatMul", "z", z=(4,)),
    "MatMul with stacks": one("MatMul", "stack"),
    "MatMul of stacks with stacks of their own": one("MatMul", "stack", x=(2, 4)),
    "MatMul of a vector": one("MatMul", "one", x=()),
    "MatMul of rows from the right": graph(node("MatMul", ["wide", "x"], ["y"])),
    "MatMul of stacks from the right": graph(node("MatMul", ["stack", "x"], ["y"]), x=(5, 2)),
    "Gather of rows": one("Gather", "#0,0"),
    "Gather of rows, counted from the end": one("Gather", "#0,0", axis=-2),
    "Gather of columns of a table": graph(node("Gather", ["matrix", "x"], ["y"], axis=1), types={"x": INT64}),
    "Gather by the batch": one("Gather", "z", z=(), types={"z": INT64}),
    "Gather of columns by the batch": one("Gather", "z", z=(), types={"z": INT64}, axis=1),
    "Slice of rows": one("Slice", "#0", "#1", "#0"),
    "Slice of rows, counted from the end": one("Slice", "#0", "#1", "#-2"),
    "Slice of rows too": one("Slice", "#0,0", "#1,1", "#1,0"),
    "Slice of axes that are not said": one("Slice", "#0", "#1"),
    "Slice of axes that are left out by name": one("Slice", "#0", "#1", "", "#1"),
    "Slice of computed axes": graph(node("Abs", ["#1"], ["a"]), node("Slice", ["x", "#0", "#1", "a"], ["y"])),
    "Slice of rows, in opset 9": one("Slice", opset=9, starts=[0], ends=[1], axes=[0]),
    "Slice of axes that are not said, in opset 9": one("Slice", opset=9, starts=[0], ends=[1]),
    "Pad before the rows": one("Pad", "#1,0,0,0"),
    "Pad after the rows": one("Pad", "#0,0,1,0"),
    "Pad after the rows, in opset 10": one("Pad", opset=10, pads=[0, 0, 1, 0]),
    "Pad of rows by name": one("Pad", "#1,1", "", "#0"),
    "Pad of rows by name, after columns": one("Pad", "#0,1,0,1", "", "#1,0"),
    "Pad of a computed size": graph(node("Abs", ["#0,0,0,1"], ["p"]), node("Pad", ["x", "p"], ["y"])),
    "Pad of what has an unknown shape": graph(
        node("Abs", ["lengths"], ["l"]), node("Split", ["x", "l"], ["s", "t"], axis=1),
        node("Pad", ["s", "#0,0,1,0"], ["y"]),
    ),
    "Resize to sizes": one("Resize", "", "", "#{rows},4,12,12", x=IMAGE),
    "Resize of rows": one("Resize", "", "twice_rows"),
    "Resize of rows by name": one("Resize", "", "twice_columns", axes=[1, 0]),
    "Resize of rows by name, counted from the end": one("Resize", "", "twice_columns", axes=[1, -2]),
    "Resize of a region": one(
        "Resize", "region", "twice_columns", coordinate_transformation_mode="tf_crop_and_resize",
    ),
    "Resize by computed scales": graph(node("Abs", ["twice_rows"], ["s"]), node("Resize", ["x", "region", "s"], ["y"])),
    "Upsample by computed scales": graph(
        node("Abs", ["twice_rows"], ["s"]), node("Upsample", ["x", "s"], ["y"]), opset=9,
    ),
    "MaxPool that counts through the batch": one("MaxPool", outputs=["y", "places"], x=IMAGE, kernel_shape=[2, 2]),
    "BatchNormalization in training": one(
        "BatchNormalization", "four", "four", "four", "positive", outputs=["y", "a", "b"], x=IMAGE, training_mode=1,
    ),
    "QuantizeLinear along the batch": one("QuantizeLinear", "z", z=(), axis=0),
    "QuantizeLinear by scales of the batch": one("QuantizeLinear", "z", z=()),
    "DequantizeLinear along the batch": one("DequantizeLinear", "tenth", types={"x": INT8}, axis=0),
    "DequantizeLinear of a vector": one("DequantizeLinear", "tenth", x=(), types={"x": INT8}),
    "DynamicQuantizeLinear": one("DynamicQuantizeLinear", outputs=["y", "scale", "zero"]),
    "LSTM": one("LSTM", "gates", "recurrent", outputs=["y"], x=(2, 4), hidden_size=2),
    "CumSum of rows": one("CumSum", "axis_0"),
    "Shape": one("Shape"),
    "Expand": one("Expand", "#{rows},4"),
    "Loop": graph(node("Loop", ["", "yes", "x"], ["y"], body=BODY)),
    "Conv as filters": graph(node("Conv", ["three_images", "x"], ["y"]), x=(4, 3, 3)),
    "InstanceNormalization by the batch": graph(
        node("InstanceNormalization", ["three_images", "x", "four"], ["y"]), x=(),
    ),
    "Relu of another domain": graph(node("Relu", ["x"], ["y"], domain="my.ops"), domains=["my.ops"]),
}  # fmt: skip

UNSAFE_AT_3 = {
    "Add of three rows": one("Add", "three_rows"),
    "Mul of three rows first": graph(node("Mul", ["three_rows", "x"], ["y"])),
    "PRelu by slopes of rows": one("PRelu", "three_rows"),
    "Where by rows": graph(node("Greater", ["three_rows", "half"], ["c"]), node("Where", ["c", "x", "half"], ["y"])),
    "Reshape to one row": one("Reshape", "#1,-1"),
    "Reshape to one more axis": one("Reshape", "#1,{rows},4"),
    "Concat with three rows": one("Concat", "three_rows", axis=1),
    "Gemm plus three rows": one("Gemm", "matrix", "tall"),
    "LayerNormalization by scales of rows": one("LayerNormalization", "three_rows", axis=1),
    "LayerNormalization plus rows": one("LayerNormalization", "four", "three_rows"),
    "QuantizeLinear by blocks of rows": one("QuantizeLinear", "blocks", opset=21, block_size=2),
    "DequantizeLinear by blocks of rows": one("DequantizeLinear", "blocks", types={"x": INT8}, opset=21, block_size=2),
    "MatMul of a batch with itself": one("MatMul", "x", x=(3,)),
    "Add of a batch that lies on another axis": graph(
        node("ReduceMax", ["x", "#1"], ["r"], keepdims=0), node("Add", ["x", "r"], ["y"]), x=(3,),
    ),
}  # fmt: skip

UNSAFE_AT_1 = {
    "Add of three rows to one": one("Add", "three_rows"),
    "Add of several to a single number": one("Add", "four", x=()),
    "PRelu by a slope with more axes": one("PRelu", "one_stack", x=()),
    "Squeeze of the batch": one("Squeeze", "#0"),
    "Squeeze of all that is 1": one("Squeeze"),
    "Reshape to numbers of rows": one("Reshape", "#4"),
    "Reshape to as many rows as columns": one("Reshape", "#4,1"),
    "Reshape to two rows": one("Reshape", "#2,2"),
    "QuantizeLinear by blocks of one row": one("QuantizeLinear", "one_block", opset=21, block_size=2),
    "MatMul to a single number": one("MatMul", "one", x=()),
    "MatMul of one row with stacks": one("MatMul", "one_stack"),
    "Concat with one row": one("Concat", "one_row", axis=1),
}

REFUSED = [
    *((name, made, rows) for name, made in UNSAFE.items() for rows in (1, 3)),
    *((name, made, 3) for name, made in UNSAFE_AT_3.items()),
    *((name, made, 1) for name, made in UNSAFE_AT_1.items()),
]
