"""Our rewrites of a graph: where their equations hold, and where they must keep off."""

from collections import Counter
from itertools import combinations

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from onnx_graphs import answers, model_of, node, noise, operators, tensor

from generator.export import export
from generator.networks.densenet import DenseNet
from generator.networks.dpn import DPN
from generator.rewrites import rewrite
from generator.simplify import simplify
from generator.spec import REWRITES, DenseNetShape, DPNShape, TensorSpec
from generator.weights.random import initialise

X = {"x": [1, 3, 4, 4]}
WEIGHTS = {"w": noise(8, 3, 3, 3), "b": noise(8, seed=1), "grouped": noise(6, 1, 1, 1), "line": noise(8, 3, 3)}
END = 2**63 - 1
CONV = node("Conv", ["x", "w"], ["c"])  # 8 channels
CONCAT = node("Concat", ["x", "y", "z"], ["c"], axis=1)  # seams at 0, 2, 5, 6
XYZ = {"x": [1, 2, 4, 4], "y": [1, 3, 4, 4], "z": [1, 1, 4, 4]}


def cut(start, end, output="s", source="c", axis=1, step=1):
    """A Slice of one axis."""
    return node("Slice", [source, f"#{start}", f"#{end}", f"#{axis}", f"#{step}"], [output])


def net(*nodes, read="s", inputs=X, constants=None, **options):
    """A graph in which a Relu reads each of the named values (a letter each); what the Relus say is its output."""
    relus = [node("Relu", [value], [f"relu_{value}"]) for value in read]
    return model_of(
        [*nodes, *relus], inputs, [f"relu_{value}" for value in read], WEIGHTS | (constants or {}), **options
    )


def rewritten(model, names=REWRITES):
    """The model after the rewrites, which is valid, has the same interface and says the same; and what was applied."""
    after, applied = rewrite(model, names)
    onnx.checker.check_model(after, full_check=True)
    assert list(after.graph.input) == list(model.graph.input)
    assert list(after.graph.output) == list(model.graph.output)
    feeds = feeds_of(model)
    for given, expected in zip(answers(after, feeds), answers(model, feeds), strict=True):
        np.testing.assert_allclose(given, expected, rtol=0, atol=1e-6 * max(1, np.abs(expected).max(initial=0)))
    assert sum(applied.values()) > 0 or after is model
    return after, applied


def feeds_of(model):
    """Noise of the declared shapes; what is open is 3."""
    shapes = {
        value.name: [dim.dim_value or 3 for dim in value.type.tensor_type.shape.dim] for value in model.graph.input
    }
    return {name: noise(*shape, seed=place) for place, (name, shape) in enumerate(shapes.items())}


def unknown(model, name):
    """The model without the shape of a value."""
    model.graph.value_info.remove(next(value for value in model.graph.value_info if value.name == name))
    return model


CUT_CONVS = {
    "two slices": (net(CONV, cut(0, 5), cut(5, 8, "t"), read="st"), 2, 2),
    "with a bias": (net(node("Conv", ["x", "w", "b"], ["c"]), cut(0, 5), cut(5, 8, "t"), read="st"), 2, 2),
    "a bias that is left out by name": (net(node("Conv", ["x", "w", ""], ["c"]), cut(2, 5)), 1, 1),
    "channels that nobody reads": (net(CONV, cut(0, 2), cut(5, 7, "t"), read="st"), 2, 2),
    "all channels": (net(CONV, cut(0, 8)), 1, 1),
    "the same channels twice": (net(CONV, cut(0, 5), cut(5, 8, "t"), cut(0, 5, "u"), read="stu"), 3, 2),
    "counted from the end": (net(CONV, cut(-3, END), cut(0, -3, "t"), read="st"), 2, 2),
    "bounds beyond the length": (net(CONV, cut(-100, 3), cut(5, 100, "t"), read="st"), 2, 2),
    "the least bound of all": (net(CONV, cut(-(2**63), -6)), 1, 1),
    "no step": (net(CONV, node("Slice", ["c", "#1", "#3", "#1"], ["s"])), 1, 1),
    "bounds in int32": (
        net(
            CONV, node("Slice", ["c", "i", "j", "i"], ["s"]),
            constants={"i": np.array([1], np.int32), "j": np.array([3], np.int32)},
        ),
        1,
        1,
    ),
    "stride, padding and dilation": (
        net(node("Conv", ["x", "w"], ["c"], strides=[2, 1], pads=[2, 1, 2, 1], dilations=[2, 1]), cut(3, 8)), 1, 1,
    ),
    "padding that is computed": (net(node("Conv", ["x", "w"], ["c"], auto_pad="SAME_UPPER"), cut(3, 8)), 1, 1),
    "one spatial dimension": (net(node("Conv", ["x", "line"], ["c"]), cut(3, 8), inputs={"x": [1, 3, 5]}), 1, 1),
    "an open batch": (net(CONV, cut(0, 5), cut(5, 8, "t"), read="st", inputs={"x": ["N", 3, 4, 4]}), 2, 2),
    "open height and width": (net(CONV, cut(0, 5), inputs={"x": [1, 3, "H", "W"]}), 1, 1),
    "two convolutions with the same filters": (
        net(
            CONV, node("Conv", ["x", "w"], ["d"], pads=[1, 1, 1, 1]), cut(0, 5), cut(5, 8, "t"), cut(0, 5, "u", "d"),
            cut(5, 8, "v", "d"), read="stuv",
        ),
        4,
        4,
    ),
    "Split with uneven parts": (net(CONV, node("Split", ["c", "#1,5,2"], ["s", "t", "u"], axis=1), read="stu"), 1, 3),
    "Split in opset 13": (net(CONV, node("Split", ["c", "#5,3"], ["s", "t"], axis=1), read="st", opset=13), 1, 2),
    "Split in opset 13 without lengths": (
        net(CONV, node("Split", ["c"], ["s", "t"], axis=1), read="st", opset=13), 1, 2,
    ),
    "Split in opset 11": (net(CONV, node("Split", ["c"], ["s", "t"], axis=1, split=[3, 5]), read="st", opset=11), 1, 2),
    "Split into a number of parts": (
        net(CONV, node("Split", ["c"], ["s", "t", "u"], axis=1, num_outputs=3), read="stu"), 1, 3,
    ),
    "Split of which one part is read": (net(CONV, node("Split", ["c"], ["s", "t"], axis=1, num_outputs=2)), 1, 1),
    "Split and Slice at the same seam": (
        net(CONV, node("Split", ["c"], ["s", "t"], axis=1, num_outputs=2), cut(0, 4, "u"), read="stu"), 2, 2,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("model", "replaced", "convolutions"), CUT_CONVS.values(), ids=CUT_CONVS)
def test_a_convolution_that_is_only_cut_is_made_in_parts(model, replaced, convolutions):
    """No Slice or Split is left, and each range of channels is computed once."""
    after, applied = rewritten(model)
    assert applied == {"slice-of-conv": replaced}
    assert Counter(operators(after).split()) == {"Conv": convolutions, "Relu": len(model.graph.output)}


def test_the_parts_hold_no_filter_that_is_not_used():
    """The filters that were cut are gone; two convolutions that share them share the parts."""
    after, _ = rewritten(CUT_CONVS["two convolutions with the same filters"][0])
    filters = {held.name: held.dims[0] for held in after.graph.initializer if len(held.dims) == 4}
    assert sorted(filters.values()) == [3, 5]
    after, _ = rewritten(CUT_CONVS["channels that nobody reads"][0])
    assert [held.dims[0] for held in after.graph.initializer if len(held.dims) == 4] == [2, 2]


def with_branches(then, otherwise):
    """The convolution is cut outside an If, and the nodes of the branches, which make `i`, read it too."""
    output = tensor("i", None)
    branches = {
        name: helper.make_graph(nodes, name, [], [output])
        for name, nodes in (("then_branch", then), ("else_branch", otherwise))
    }
    nodes = [CONV, node("If", ["yes"], ["o"], **branches), cut(3, 8), node("Relu", ["s"], ["r"])]
    inside = {"#0": np.array([0]), "#1": np.array([1]), "#3": np.array([3]), "yes": np.array(1, np.bool_)}
    return model_of(nodes, X, ["o", "r"], WEIGHTS | inside)


def test_a_cut_inside_a_branch_counts_as_one():
    """The branch reads the part instead."""
    model = with_branches([cut(0, 3, "k"), node("Neg", ["k"], ["i"])], [cut(0, 3, "l"), node("Abs", ["l"], ["i"])])
    after, applied = rewritten(model)
    assert applied == {"slice-of-conv": 3}
    assert operators(after) == "Conv Conv If Relu"
    inner = next(
        attribute.g for made in after.graph.node for attribute in made.attribute if attribute.name == "then_branch"
    )
    assert [made.op_type for made in inner.node] == ["Neg"]


def with_default(model, name):
    """The model with a constant that a request may replace: an input with a default."""
    array = WEIGHTS[name]
    model.graph.input.append(tensor(name, array.shape))
    return model


def sparse(model):
    """The model with a constant of another kind beside the dense ones."""
    values, places = (
        numpy_helper.from_array(np.ones(1, np.float32), "few"),
        numpy_helper.from_array(np.array([1]), "at"),
    )
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [4]))
    return model


UNCUT_CONVS = {
    "grouped": net(node("Conv", ["x", "grouped"], ["c"], group=3), cut(0, 2), cut(2, 6, "t"), read="st"),
    "overlapping": net(CONV, cut(0, 5), cut(4, 8, "t"), read="st"),
    "one inside the other": net(CONV, cut(0, 8), cut(2, 3, "t"), read="st"),
    "Split and Slice that overlap": net(
        CONV, node("Split", ["c"], ["s", "t"], axis=1, num_outputs=2), cut(3, 4, "u"), read="stu",
    ),
    "read whole too": net(CONV, cut(0, 5), read="sc"),
    "read whole in a branch": with_branches([cut(0, 3, "k"), node("Neg", ["k"], ["i"])], [node("Neg", ["c"], ["i"])]),
    "the slice is a branch's output": with_branches([cut(0, 3, "i")], [cut(0, 3, "l"), node("Abs", ["l"], ["i"])]),
    "the slice is an output": model_of([CONV, cut(0, 5)], X, ["s"], WEIGHTS),
    "one of the slices is an output": model_of(
        [CONV, cut(0, 5), cut(5, 8, "t"), node("Relu", ["s"], ["r"])], X, ["r", "t"], WEIGHTS,
    ),
    "a part of a Split is an output": model_of(
        [CONV, node("Split", ["c"], ["s", "t"], axis=1, num_outputs=2), node("Relu", ["s"], ["r"])],
        X, ["r", "t"], WEIGHTS,
    ),
    "it is an output itself": model_of([CONV, cut(0, 5), node("Relu", ["s"], ["r"])], X, ["c", "r"], WEIGHTS),
    "a computed start": net(node("Abs", ["#1"], ["n"]), CONV, node("Slice", ["c", "n", "#5", "#1"], ["s"])),
    "a computed end": net(node("Abs", ["#5"], ["n"]), CONV, node("Slice", ["c", "#1", "n", "#1"], ["s"])),
    "a computed axis": net(node("Abs", ["#1"], ["n"]), CONV, node("Slice", ["c", "#1", "#5", "n"], ["s"])),
    "a computed step": net(node("Abs", ["#2"], ["n"]), CONV, node("Slice", ["c", "#0", "#5", "#1", "n"], ["s"])),
    "every second channel": net(CONV, cut(0, 8, step=2)),
    "backwards": net(CONV, cut(-1, -(2**63), step=-1)),
    "no channel at all": net(CONV, cut(5, 5)),
    "rows": net(CONV, cut(0, 1, axis=2)),
    "rows and channels": net(CONV, node("Slice", ["c", "#0,0", "#5,1", "#1,2"], ["s"])),
    "channels and rows by turns": net(CONV, cut(0, 5), cut(0, 1, "t", axis=2), read="st"),
    "axes that are not said": net(CONV, node("Slice", ["c", "#0,0", "#1,5"], ["s"])),
    "axes that are left out by name": net(CONV, node("Slice", ["c", "#0", "#1", "", "#1"], ["s"])),
    "an axis counted from the end": net(CONV, cut(0, 5, axis=-3)),
    "Split along rows": net(CONV, node("Split", ["c"], ["s", "t"], axis=2, num_outputs=2), read="st"),
    "Split along the default axis": net(CONV, node("Split", ["c"], ["s"], num_outputs=1)),
    "Split along an axis counted from the end": net(
        CONV, node("Split", ["c"], ["s", "t"], axis=-3, num_outputs=2), read="st",
    ),
    "Split with an empty part": net(CONV, node("Split", ["c", "#5,0,3"], ["s", "t", "u"], axis=1), read="stu"),
    "Split with computed parts": net(
        node("Abs", ["#5,3"], ["n"]), CONV, node("Split", ["c", "n"], ["s", "t"], axis=1), read="st"
    ),
    "a Slice of opset 9": net(CONV, node("Slice", ["c"], ["s"], starts=[0], ends=[5], axes=[1]), opset=9),
    "computed filters": net(node("Abs", ["w"], ["v"]), node("Conv", ["x", "v"], ["c"]), cut(0, 5)),
    "a computed bias": net(node("Abs", ["b"], ["v"]), node("Conv", ["x", "w", "v"], ["c"]), cut(0, 5)),
    "filters that are an input": model_of(
        [CONV, cut(0, 5), node("Relu", ["s"], ["r"])], X | {"w": [8, 3, 3, 3]}, ["r"],
    ),
    "filters that are an input with a default": with_default(net(CONV, cut(0, 5)), "w"),
    "a bias that is an input with a default": with_default(net(node("Conv", ["x", "w", "b"], ["c"]), cut(0, 5)), "b"),
    "a shape that is not known": unknown(net(CONV, cut(0, 5)), "c"),
    "parts of shapes that are not known": unknown(
        net(CONV, node("Split", ["c"], ["s", "t"], axis=1, num_outputs=2), read="st"), "t"
    ),
    "another operator": net(node("ConvTranspose", ["x", "w"], ["c"]), cut(0, 2), inputs={"x": [1, 8, 4, 4]}),
    "nothing is cut": net(CONV, read="c"),
    "sparse constants": sparse(net(CONV, cut(0, 5))),
}  # fmt: skip


@pytest.mark.parametrize("model", UNCUT_CONVS.values(), ids=UNCUT_CONVS)
def test_a_convolution_that_must_stay_is_left(model):
    """The model comes back as it was; its answers are those of any model that comes back."""
    feeds = feeds_of(model)
    after, applied = rewrite(model, REWRITES)
    assert applied == {}
    assert after is model
    answers(model, feeds)  # it is a model that runs, so that it is not left for being broken


def test_an_input_with_a_default_still_counts():
    """What a request sends in place of the default is what is computed with."""
    model = UNCUT_CONVS["filters that are an input with a default"]
    feeds = feeds_of(model) | {"w": 2 * WEIGHTS["w"]}
    assert not np.allclose(answers(rewrite(model, REWRITES)[0], feeds)[0], answers(model, {"x": feeds["x"]})[0])


@pytest.mark.parametrize("operator", ["Conv", "Concat", "Slice", "Split"])
def test_another_domain_has_other_operators(operator):
    """One that is only called Conv, Concat, Slice or Split is not touched."""
    first = CONV if operator == "Conv" else CONCAT
    cutter = node("Split", ["c", "#2,4"], ["s", "t"], axis=1) if operator == "Split" else cut(0, 2)
    model = net(first, cutter, inputs=XYZ | X if operator == "Conv" else XYZ)
    assert rewrite(model, REWRITES)[1]
    for made in model.graph.node:
        if made.op_type == operator:
            made.domain = "my.ops"
    model.opset_import.append(helper.make_opsetid("my.ops", 1))
    assert rewrite(model, REWRITES) == (model, {})


def test_a_concatenation_of_another_domain_is_not_flattened():
    """Neither the inner one nor one beside the outer one."""
    model = joined(node("Concat", ["x", "y"], ["i"], axis=1), node("Concat", ["i", "z"], ["c"], axis=1))
    assert rewrite(model, REWRITES)[1]
    for place in (0, 1):
        foreign = onnx.ModelProto()
        foreign.CopyFrom(model)
        foreign.graph.node[place].domain = "my.ops"
        foreign.opset_import.append(helper.make_opsetid("my.ops", 1))
        assert rewrite(foreign, REWRITES) == (foreign, {})


LAST = {"x": [1, 4, 4, 2], "y": [1, 4, 4, 3], "z": [1, 4, 4, 1]}
CUT_CONCATS = {
    "one of them": (net(CONCAT, cut(2, 5), inputs=XYZ), 1, "Relu"),
    "the first": (net(CONCAT, cut(0, 2), inputs=XYZ), 1, "Relu"),
    "the last, counted from the end": (net(CONCAT, cut(-1, END), inputs=XYZ), 1, "Relu"),
    "two of them": (net(CONCAT, cut(2, 6), inputs=XYZ), 1, "Concat Relu"),
    "all of them": (net(CONCAT, cut(0, 100), inputs=XYZ), 1, "Concat Relu"),
    "each": (net(CONCAT, cut(0, 2), cut(2, 5, "t"), cut(5, 6, "u"), read="stu", inputs=XYZ), 3, "Relu Relu Relu"),
    "overlapping": (net(CONCAT, cut(0, 5), cut(2, 6, "t"), read="st", inputs=XYZ), 2, "Concat Concat Relu Relu"),
    "read whole too": (net(CONCAT, cut(2, 5), read="sc", inputs=XYZ), 1, "Concat Relu Relu"),
    "an output too": (
        model_of([CONCAT, cut(2, 5), node("Relu", ["s"], ["r"])], XYZ, ["c", "r"]), 1, "Concat Relu",
    ),
    "only one of the slices along seams": (
        net(CONCAT, cut(2, 5), cut(1, 5, "t"), read="st", inputs=XYZ), 1, "Concat Relu Relu Slice",
    ),
    "Split": (
        net(CONCAT, node("Split", ["c", "#2,4"], ["s", "t"], axis=1), read="st", inputs=XYZ), 1, "Concat Relu Relu",
    ),
    "Split in opset 13": (
        net(CONCAT, node("Split", ["c", "#5,1"], ["s", "t"], axis=1), read="st", inputs=XYZ, opset=13),
        1, "Concat Relu Relu",
    ),
    "the same tensor twice": (
        net(node("Concat", ["x", "y", "x"], ["c"], axis=1), cut(5, 7), inputs=XYZ), 1, "Relu",
    ),
    "the last axis": (net(node("Concat", ["x", "y", "z"], ["c"], axis=3), cut(2, 5, axis=3), inputs=LAST), 1, "Relu"),
    "the last axis, counted from the end": (
        net(node("Concat", ["x", "y", "z"], ["c"], axis=-1), cut(2, 6, axis=3), inputs=LAST), 1, "Concat Relu",
    ),
    "the batch axis": (net(node("Concat", ["x", "x"], ["c"], axis=0), cut(1, 2, axis=0)), 1, "Relu"),
    "a slice of a slice": (net(CONCAT, cut(2, 6, "t"), cut(3, 4, "s", "t"), inputs=XYZ), 2, "Relu"),
    "an open batch": (
        net(CONCAT, cut(2, 5), inputs={name: ["N", *shape[1:]] for name, shape in XYZ.items()}), 1, "Relu",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("model", "replaced", "left"), CUT_CONCATS.values(), ids=CUT_CONCATS)
def test_what_is_cut_along_seams_was_there_before(model, replaced, left):
    """A Concat stays only where something else reads it, or several of its inputs are wanted."""
    after, applied = rewritten(model)
    assert applied == {"slice-of-concat": replaced}
    assert operators(after) == left


UNCUT_CONCATS = {
    "across a seam": net(CONCAT, cut(1, 3), inputs=XYZ),
    "it ends inside one": net(CONCAT, cut(2, 4), inputs=XYZ),
    "it begins inside one": net(CONCAT, cut(3, 5), inputs=XYZ),
    "inside one": net(CONCAT, cut(3, 4), inputs=XYZ),
    "nothing of it": net(CONCAT, cut(2, 2), inputs=XYZ),
    "another axis": net(CONCAT, cut(0, 2, axis=2), inputs=XYZ),
    "another axis too": net(CONCAT, node("Slice", ["c", "#0,0", "#2,2", "#1,2"], ["s"]), inputs=XYZ),
    "an axis counted from the end": net(CONCAT, cut(0, 2, axis=-3), inputs=XYZ),
    "every second": net(CONCAT, cut(0, 6, step=2), inputs=XYZ),
    "a computed start": net(
        node("Abs", ["#2"], ["n"]), CONCAT, node("Slice", ["c", "n", "#5", "#1"], ["s"]), inputs=XYZ,
    ),
    "the slice is an output": model_of([CONCAT, cut(2, 5)], XYZ, ["s"]),
    "a part of a Split is an output": model_of(
        [CONCAT, node("Split", ["c", "#2,4"], ["s", "t"], axis=1), node("Relu", ["s"], ["r"])], XYZ, ["r", "t"]
    ),
    "Split off the seams": net(CONCAT, node("Split", ["c", "#2,2,2"], ["s", "t", "u"], axis=1), read="stu", inputs=XYZ),
    "Split with an empty part": net(
        CONCAT, node("Split", ["c", "#2,0,4"], ["s", "t", "u"], axis=1), read="stu", inputs=XYZ,
    ),
    "Split along another axis": net(
        CONCAT, node("Split", ["c"], ["s", "t"], axis=2, num_outputs=2), read="st", inputs=XYZ,
    ),
    "a Slice of opset 9": net(CONCAT, node("Slice", ["c"], ["s"], starts=[2], ends=[5], axes=[1]), inputs=XYZ, opset=9),
    "an input of unknown length": net(CONCAT, cut(0, 2), inputs=XYZ | {"z": [1, "C", 4, 4]}),
    "its shape is not known": unknown(net(CONCAT, cut(2, 5), inputs=XYZ), "c"),
    "an input's shape is not known": unknown(
        net(node("Neg", ["z"], ["n"]), node("Concat", ["x", "y", "n"], ["c"], axis=1), cut(2, 5), inputs=XYZ), "n"
    ),
    "another operator": net(node("Sum", ["x"], ["c"]), cut(0, 2)),
    "an input of the graph": net(cut(0, 2, source="x")),
}  # fmt: skip


@pytest.mark.parametrize("model", UNCUT_CONCATS.values(), ids=UNCUT_CONCATS)
def test_a_cut_off_the_seams_is_left(model):
    """The model comes back as it was."""
    after, applied = rewrite(model, REWRITES)
    assert applied == {}
    assert after is model
    answers(model, feeds_of(model))


def joined(*nodes, read="c", axis=1, **options):
    """Concatenations of x, y and z."""
    inputs = XYZ if axis == 1 else LAST
    return net(*nodes, read=read, inputs=inputs, **options)


def join(names, output, axis=1):
    """A Concat of values with a letter each."""
    return node("Concat", list(names), [output], axis=axis)


NESTED = {
    "first": (joined(join("xy", "i"), join("iz", "c")), 1, "Concat Relu"),
    "last": (joined(join("xy", "i"), join("zi", "c")), 1, "Concat Relu"),
    "in the middle": (joined(join("xy", "i"), join("ziz", "c")), 1, "Concat Relu"),
    "twice the same": (joined(join("xy", "i"), join("ii", "c")), 1, "Concat Relu"),
    "two of them": (joined(join("xy", "i"), join("yz", "j"), join("ij", "c")), 1, "Concat Relu"),
    "three deep": (joined(join("xy", "i"), join("iz", "j"), join("xj", "c")), 2, "Concat Relu"),
    "of one": (joined(join("x", "i"), join("iz", "c")), 1, "Concat Relu"),
    "read by two": (joined(join("xy", "i"), join("iz", "c"), join("zi", "d"), read="cd"), 2, "Concat Concat Relu Relu"),
    "along the last axis": (joined(join("xy", "i", 3), join("iz", "c", 3), axis=3), 1, "Concat Relu"),
    "along an axis counted from the end": (joined(join("xy", "i", -1), join("iz", "c", -1), axis=3), 1, "Concat Relu"),
    "read by two, one of them an output": (
        model_of([join("xy", "i"), join("iz", "c"), join("zi", "d"), node("Relu", ["c"], ["r"])], XYZ, ["r", "d"]),
        1,
        "Concat Concat Concat Relu",
    ),
    "open sizes": (
        net(join("xy", "i"), join("iz", "c"), read="c", inputs={name: ["N", "C", 4, 4] for name in XYZ}),
        1, "Concat Relu",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("model", "replaced", "left"), NESTED.values(), ids=NESTED)
def test_a_concatenation_of_concatenations_is_one(model, replaced, left):
    """The inner one is gone, unless something still reads it."""
    after, applied = rewritten(model)
    assert applied == {"concat-of-concat": replaced}
    assert operators(after) == left


NOT_NESTED = {
    "the inner one is read elsewhere": joined(join("xy", "i"), join("iz", "c"), read="ci"),
    "the inner one is an output": model_of(
        [join("xy", "i"), join("iz", "c"), node("Relu", ["c"], ["r"])], XYZ, ["r", "i"]
    ),
    "the outer one is an output": model_of([join("xy", "i"), join("iz", "c")], XYZ, ["c"]),
    "another axis": net(join("xx", "i", 2), join("ii", "c"), read="c"),
    "one reader has another axis": net(join("xx", "i"), join("ii", "c"), join("ii", "d", 2), read="cd"),
    "the same axis, counted from either end": joined(join("xy", "i", 3), join("iz", "c", -1), axis=3),
    "something between": joined(join("xy", "i"), node("Neg", ["i"], ["n"]), join("nz", "c")),
    "one alone": joined(join("xyz", "c")),
}


@pytest.mark.parametrize("model", NOT_NESTED.values(), ids=NOT_NESTED)
def test_a_concatenation_that_must_stay_is_left(model):
    """The model comes back as it was."""
    after, applied = rewrite(model, REWRITES)
    assert applied == {}
    assert after is model
    answers(model, feeds_of(model))


def dual_path():
    """Every rewrite has its place here: a path that is cut, added to and appended to, as in a dual path network."""
    nodes = [CONV, cut(0, 5, "r"), cut(5, 8, "d"), node("Relu", ["r"], ["q"])]
    nodes += [join("qd", "p"), cut(0, 5, "a", "p"), cut(5, 8, "e", "p"), join("ed", "f"), join("qf", "o")]
    return net(*nodes, read="oap")


SUBSETS = [names for count in range(len(REWRITES) + 1) for names in combinations(REWRITES, count)]


@pytest.mark.parametrize("names", SUBSETS)
def test_only_what_is_named_is_applied(names):
    """None, each by itself, in pairs and all, whatever the order they are named in."""
    model = dual_path()
    after, applied = rewritten(model, reversed(names))
    assert applied == {name: {"slice-of-conv": 2, "slice-of-concat": 2, "concat-of-concat": 1}[name] for name in names}
    if not names:
        assert after is model


def test_rewriting_again_changes_nothing():
    """What comes out has no place left for any of them."""
    after, _ = rewritten(dual_path())
    again, applied = rewrite(onnx.shape_inference.infer_shapes(after), REWRITES)
    assert applied == {}
    assert operators(again) == operators(after)


# As the five of the table, with fewer blocks and channels: stem, kernel, width, bottleneck, groups, blocks, growth.
DPNS = {
    "dpn68": DPNShape(5, 3, 8, 16, 4, (2, 1, 2, 1), (2, 4, 4, 8)),
    "dpn92": DPNShape(8, 7, 16, 8, 4, (1, 2, 2, 1), (2, 4, 3, 16)),
    "dpn98": DPNShape(12, 7, 16, 10, 5, (2, 2, 1, 1), (2, 4, 4, 16)),
    "dpn107": DPNShape(16, 7, 16, 10, 5, (2, 2, 2, 2), (5, 8, 8, 16)),
    "dpn131": DPNShape(16, 7, 16, 10, 5, (1, 1, 2, 2), (2, 4, 4, 16)),
}
SMALL_INPUT = TensorSpec("input", "TYPE_FP32", (3, 64, 64))


def exported(module):
    """The network with random weights, as the exporter writes it."""
    with torch.no_grad():
        initialise(module, torch.Generator().manual_seed(0))
    return export("small", module.eval(), (SMALL_INPUT,), ("output",))


@pytest.mark.parametrize("shape", DPNS.values(), ids=DPNS)
def test_a_dual_path_network_has_nothing_left_that_cuts(shape):
    """Two convolutions a block are cut; a path is cut again in every block that is not its stage's first."""
    given = exported(DPN(shape, classes=10, bn_eps=1e-5))
    plain, ours = simplify("small", given, ()), simplify("small", given)
    assert plain.rewrites == {}
    assert "Slice" in operators(plain.model)
    assert not {"Slice", "Split"} & set(operators(ours.model).split())
    later = sum(shape.blocks) - len(shape.blocks)
    expected = {"slice-of-conv": 2 * sum(shape.blocks) + 2 * len(shape.blocks), "slice-of-concat": 2 * later}
    assert {name: count for name, count in ours.rewrites.items() if name in expected} == {
        k: v for k, v in expected.items() if v
    }
    onnx.checker.check_model(ours.model, full_check=True)
    batch = {"input": noise(2, 3, 64, 64)}
    one, other = answers(ours.model, batch)[0], answers(plain.model, batch)[0]
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * np.abs(other).max())


def test_a_densenet_has_nothing_to_rewrite():
    """Its concatenations are read by batch norms, and nothing is cut."""
    given = exported(DenseNet(DenseNetShape(8, 4, (2, 2, 2, 2)), classes=10, bn_eps=1e-5))
    plain, ours = simplify("small", given, ()), simplify("small", given)
    assert ours.rewrites == {}
    assert ours.model == plain.model


class RandomGraph:
    """A graph put together at random from what the rewrites look at, on tensors [2, channels, 6]."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.inputs = {"x": [2, 3, 6], "y": [2, 4, 6]}
        self.channels = {"x": 3, "y": 4}
        self.nodes, self.constants = [], {}
        for _ in range(self.random.integers(6, 16)):
            getattr(self, self.random.choice(["conv", "concat", "slice", "split", "slice", "concat", "relu", "add"]))()

    def pick(self):
        """A value that is there, one of the last ones more often than not."""
        names = list(self.channels)
        return names[-1 - min(int(self.random.exponential(1.5)), len(names) - 1)]

    def put(self, operator, inputs, channels, **attributes):
        """A node with an output for each number of channels."""
        names = [f"v{len(self.channels) + place}" for place in range(len(channels))]
        self.nodes.append(node(operator, inputs, names, **attributes))
        self.channels |= dict(zip(names, channels, strict=True))

    def conv(self):
        source, out = self.pick(), int(self.random.integers(2, 7))
        kernel = int(self.random.choice([1, 3]))
        name = f"w{len(self.nodes)}"
        self.constants[name] = noise(out, self.channels[source], kernel, seed=len(self.nodes)) / 4
        self.put("Conv", [source, name], [out], pads=[kernel // 2] * 2)

    def concat(self):
        sources = [self.pick() for _ in range(self.random.integers(2, 4))]
        self.put("Concat", sources, [sum(self.channels[source] for source in sources)], axis=1)

    def slice(self):
        source = self.pick()
        length = self.channels[source]
        start = int(self.random.integers(0, length))
        end = int(self.random.integers(start + 1, length + 1))
        if self.random.random() < 0.5:  # along a seam, if what is cut has one
            lengths = next((self.lengths(made) for made in self.nodes if source in made.output), [length])
            seams = np.cumsum([0, *lengths])
            start, end = (int(seam) for seam in np.sort(self.random.choice(seams, 2, replace=False)))
        written = end if self.random.random() < 0.5 else (END if end == length else end - length)
        self.put("Slice", [source, f"#{start}", f"#{written}", "#1", "#1"], [end - start])

    def lengths(self, made):
        """The channels of a node's inputs, if it is a Concat."""
        if made.op_type == "Concat":
            return [self.channels[name] for name in made.input]
        return [self.channels[made.output[0]]]

    def split(self):
        source = self.pick()
        length = self.channels[source]
        if length > 1:
            first = int(self.random.integers(1, length))
            self.put("Split", [source, f"#{first},{length - first}"], [first, length - first], axis=1)

    def relu(self):
        source = self.pick()
        self.put("Relu", [source], [self.channels[source]])

    def add(self):
        source = self.pick()
        other = next(name for name in self.channels if self.channels[name] == self.channels[source])
        self.put("Add", [source, other], [self.channels[source]])

    def model(self):
        """What nothing reads is an output; so is, now and then, what something reads."""
        made = [name for each in self.nodes for name in each.output]
        read = {name for each in self.nodes for name in each.input}
        outputs = [name for name in made if name not in read or self.random.random() < 0.1]
        return model_of(self.nodes, self.inputs, outputs, self.constants)


def test_random_graphs_say_the_same_after():
    """Sixty of them, in which every rewrite applies somewhere."""
    total = Counter()
    for seed in range(60):
        model = RandomGraph(seed).model()
        _, applied = rewritten(model)
        total.update(applied)
    assert all(total[name] >= 5 for name in REWRITES), total
