"""A batch of fixed size made dynamic: only where each row of the answer is that row's own."""

from itertools import product

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from batching_cases import BOOL, CONSTANTS, IMAGE, REFUSED, SAFE, graph
from helpers import assert_near
from onnx import TensorProto, helper, numpy_helper
from onnx_graphs import answers, model_of, node, noise, tensor

from generator.graph.dynamic_batch import RULES, fixed_batch, with_dynamic_batch


def feeds_of(model, rows):
    """Return values between -0.9 and 0.9; integers are indices below 3."""
    random = np.random.default_rng(0)
    feeds = {}
    for value in model.graph.input:
        declared = value.type.tensor_type
        shape = (rows, *(dim.dim_value for dim in declared.shape.dim[1:]))
        if declared.elem_type == TensorProto.FLOAT:
            feeds[value.name] = random.uniform(-0.9, 0.9, shape).astype(np.float32)
        else:
            high = 2 if declared.elem_type == BOOL else 3
            feeds[value.name] = random.integers(0, high, shape).astype(
                helper.tensor_dtype_to_np_dtype(declared.elem_type)
            )
    return feeds


def in_parts(model, feeds, rows, count):
    """Run the fixed graph in parts of its batch; the last row is repeated to fill a part."""
    parts = []
    for begin in range(0, count, rows):
        chosen = [min(row, count - 1) for row in range(begin, begin + rows)]
        parts.append(answers(model, {name: array[chosen] for name, array in feeds.items()}))
    return [np.concatenate(part)[:count] for part in zip(*parts, strict=True)]


def check_rows(model, dynamic, rows, count=4):
    """Check that each row of a different batch size gets the answer of the fixed graph."""
    feeds = feeds_of(model, count)
    for together, apart in zip(answers(dynamic, feeds), in_parts(model, feeds, rows, count), strict=True):
        # Kernels sum in another order for another number of rows. A row of another image is off by far more than this.
        assert_near(together, apart)


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("name", SAFE)
def test_independent_rows(name, rows):
    """The answers at another batch size are those of the fixed graph."""
    model = SAFE[name](rows)
    assert fixed_batch(ir.from_proto(model).graph) == rows
    dynamic, reason = with_dynamic_batch(model)
    assert reason is None
    onnx.checker.check_model(dynamic)
    for value in (*dynamic.graph.input, *dynamic.graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param == "N"
    for count in (4, 1):
        check_rows(model, dynamic, rows, count)


def test_every_rule_has_a_case():
    """The cases cover every operator with a rule."""
    assert {name.split()[0] for name in SAFE} == set(RULES)


@pytest.mark.parametrize(("name", "made", "rows"), REFUSED, ids=[f"{name}-{rows}" for name, _, rows in REFUSED])
def test_mixed_rows_stay_fixed(name, made, rows):
    """The graph is unchanged, and the reason names the operator."""
    model = made(rows)
    before = model.SerializeToString()
    kept, reason = with_dynamic_batch(model)
    assert reason == f"{name.split()[0]} is not known to keep the rows of a batch apart"
    assert kept is model
    assert model.SerializeToString() == before


SHAPES = [shape for rank in range(4) for shape in product((1, 2, 3), repeat=rank)]

# Of a batched `x` and a constant `c` of any shape.
TWO = {
    "Sub": lambda: node("Sub", ["x", "c"], ["y"]),
    "Sub, turned": lambda: node("Sub", ["c", "x"], ["y"]),
    "Max of three": lambda: node("Max", ["x", "c", "x"], ["y"]),
    "PRelu": lambda: node("PRelu", ["x", "c"], ["y"]),
    "MatMul": lambda: node("MatMul", ["x", "c"], ["y"]),
    "MatMul, turned": lambda: node("MatMul", ["c", "x"], ["y"]),
    "Gemm": lambda: node("Gemm", ["x", "square", "c"], ["y"]),
    "LayerNormalization": lambda: node("LayerNormalization", ["x", "c"], ["y"]),
}


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("name", TWO)
def test_no_shape_of_a_constant_mixes_rows(name, rows):
    """For every shape the graph is unchanged or the rows are equal; both happen."""
    outcomes = set()
    for shape, tail in product(SHAPES, [(), (1,), (2,), (3,), (2, 3), (3, 1)]):
        constants = {"c": noise(*shape), "square": noise(*(tail or (1,))[-1:] * 2)}
        try:
            model = model_of([TWO[name]()], {"x": [rows, *tail]}, ["y"], constants)
            answers(model, feeds_of(model, rows))
        except Exception:  # noqa: BLE001, S112 (shapes that do not go together, in ONNX's or ONNX Runtime's opinion)
            continue
        dynamic, reason = with_dynamic_batch(model)
        outcomes.add(reason is None)
        if reason is None:
            check_rows(model, dynamic, rows)
    assert outcomes == ({True} if (name, rows) == ("Gemm", 1) else {True, False})


def test_several_operators():
    """The batch is followed from node to node; the reason names the node that ends the proof."""
    nodes = [
        node("Conv", ["x", "filters", "four"], ["c"]),
        node("Relu", ["c"], ["r"]),
        node("GlobalAveragePool", ["r"], ["g"]),
        node("Reshape", ["g", "#{rows},4"], ["f"]),
        node("Reshape", ["g", "#{rows},4"], ["h"]),
        node("Add", ["f", "h"], ["a"]),
        node("Gemm", ["a", "matrix", "five"], ["y"]),
    ]
    model = graph(*nodes, x=IMAGE)(3)
    dynamic, reason = with_dynamic_batch(model)
    assert reason is None
    check_rows(model, dynamic, 3)
    shapes = {value.name: value.type.tensor_type.shape.dim[0].dim_param for value in dynamic.graph.value_info}
    assert {shapes[name] for name in "crgfha"} == {"N"}
    nodes.append(node("Softmax", ["y"], ["p"], axis=0, name="among the batch"))
    assert with_dynamic_batch(graph(*nodes, x=IMAGE)(3))[1] == (
        "Softmax 'among the batch' is not known to keep the rows of a batch apart"
    )


@pytest.mark.parametrize(
    "inputs",
    [
        {"x": [2, 4], "z": [3, 4]},
        {"x": [2, 4], "z": ["N", 4]},
        {"x": ["N", 4], "z": ["N", 4]},
        {"x": [], "z": []},
        {"x": None, "z": None},
        {"x": [2, 4], "z": []},
    ],
    ids=str,
)
def test_inputs_must_share_a_fixed_batch(inputs):
    """Otherwise no batch can become dynamic."""
    model = model_of([node("Relu", ["x"], ["y"]), node("Relu", ["z"], ["w"])], inputs, ["y", "w"])
    assert fixed_batch(ir.from_proto(model).graph) is None
    assert with_dynamic_batch(model) == (model, "its inputs do not begin with one and the same fixed batch")


def test_graph_without_inputs():
    """A graph without inputs stays as it is: its answer is constant."""
    model = model_of([node("Relu", ["c"], ["y"])], {}, ["y"], {"c": noise(3)})
    assert with_dynamic_batch(model)[1] == "its inputs do not begin with one and the same fixed batch"


def test_constant_output():
    """A constant output has no rows: the graph stays as it is."""
    model = model_of(
        [node("Relu", ["x"], ["y"]), node("Neg", ["c"], ["z"])], {"x": [3, 4]}, ["y", "z"], {"c": noise(3)}
    )
    assert with_dynamic_batch(model) == (model, "its output 'z' is not a row for each row of the input")


def branch(*nodes):
    """Return a subgraph with the output `b`."""
    return helper.make_graph(nodes, "branch", [], [tensor("b", None)])


def choice(inner):
    """Return an If with two equal branches, whose result is added to the batch."""
    both = {"then_branch": inner, "else_branch": inner}
    nodes = [node("If", ["yes"], ["i"], name="choice", **both), node("Add", ["x", "i"], ["y"])]
    return model_of(nodes, {"x": [3, 4]}, ["y"], {"yes": CONSTANTS["yes"], "four": CONSTANTS["four"]})


@pytest.mark.parametrize("deep", [False, True])
def test_branch_that_reads_the_batch(deep):
    """Branches of an If, also nested ones, are not analysed."""
    inner = branch(node("Relu", ["x"], ["b"]))
    if deep:
        inner = branch(node("If", ["yes"], ["b"], then_branch=inner, else_branch=branch(node("Neg", ["four"], ["b"]))))
    assert with_dynamic_batch(choice(inner))[1] == "If 'choice' reads the batch inside a graph of its own"


def test_branch_that_does_not_read_the_batch():
    """The result of such a branch is a constant, if its shape is known."""
    known = helper.make_graph([node("Neg", ["four"], ["b"])], "branch", [], [tensor("b", [4])])
    model = choice(known)
    dynamic, reason = with_dynamic_batch(model)
    assert reason is None
    check_rows(model, dynamic, 3)


def test_unsorted_nodes():
    """ONNX Runtime accepts any order of nodes; a node that mixes rows is found in all of them."""
    nodes = [
        node("ReduceMin", ["h"], ["low"], keepdims=0),
        node("Clip", ["x", "low"], ["y"]),
        node("Relu", ["x"], ["h"]),
    ]
    model = graph(*nodes)(3)
    assert len(answers(model, feeds_of(model, 3))[0]) == 3
    assert with_dynamic_batch(model)[1].startswith("ReduceMin is not known")


def test_sparse_constants():
    """The batch stays fixed, because onnx-ir would lose them."""
    values = numpy_helper.from_array(np.ones(1, np.float32), "filters")
    place = numpy_helper.from_array(np.zeros((1, 4), np.int64), "place")
    model = graph(node("Conv", ["x", "filters"], ["y"]), x=IMAGE)(3)
    del model.graph.initializer[:]
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, place, [4, 4, 3, 3]))
    assert len(answers(model, feeds_of(model, 3))[0]) == 3
    assert with_dynamic_batch(model) == (model, "it has sparse constants")


def test_shapes_that_onnx_cannot_infer():
    """ONNX Runtime accepts two names of the ONNX domain, onnx only one."""
    model = graph(node("Relu", ["x"], ["y"]))(3)
    model.graph.node[0].domain = "ai.onnx"
    assert len(answers(model, feeds_of(model, 3))[0]) == 3
    kept, reason = with_dynamic_batch(model)
    assert kept is model
    assert reason.startswith("its shapes cannot be inferred: ")
    assert "\n" not in reason


@pytest.mark.parametrize("produced", [False, True])
def test_new_shape_has_a_free_name(produced):
    """A constant with the name of a new shape is not replaced."""
    shape = np.array([3, 2, 2])
    first = [node("Abs", ["s"], ["y/shape"])] if produced else []
    model = model_of(
        [
            *first,
            node("Reshape", ["x", "s" if produced else "y/shape"], ["y"]),
            node("Gather", ["x", "y/shape"], ["z"], axis=1),
        ],
        {"x": [3, 4]},
        ["y", "z"],
        {"s" if produced else "y/shape": shape},
    )
    dynamic, reason = with_dynamic_batch(model)
    assert reason is None
    check_rows(model, dynamic, 3)
