"""Rewrites of sliced and nested Concats: when they apply and when they must not."""

import onnx
import pytest
from onnx import helper
from onnx_graphs import answers, model_of, node, operators
from rewrite_graphs import CONCAT, END, LAST, XYZ, cut, feeds_of, join, joined, net, rewritten, unknown

from generator.graph.rewrites import rewrite
from generator.graph.types import REWRITES


def test_a_concatenation_of_another_domain_is_not_flattened():
    """A Concat of another domain is kept, as inner node or beside the outer one."""
    model = joined(node("Concat", ["x", "y"], ["i"], axis=1), node("Concat", ["i", "z"], ["c"], axis=1))
    assert rewrite(model, REWRITES)[1]
    for place in (0, 1):
        foreign = onnx.ModelProto()
        foreign.CopyFrom(model)
        foreign.graph.node[place].domain = "my.ops"
        foreign.opset_import.append(helper.make_opsetid("my.ops", 1))
        assert rewrite(foreign, REWRITES) == (foreign, {})


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
def test_slices_of_whole_inputs_are_replaced(model, replaced, left):
    """A Concat stays only if another node reads it or a part spans several inputs."""
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
def test_other_slices_are_kept(model):
    """The model is unchanged."""
    after, applied = rewrite(model, REWRITES)
    assert applied == {}
    assert after is model
    answers(model, feeds_of(model))


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
def test_nested_concats_are_flattened(model, replaced, left):
    """The inner Concat is removed unless another node reads it."""
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
def test_concats_that_are_kept(model):
    """The model is unchanged."""
    after, applied = rewrite(model, REWRITES)
    assert applied == {}
    assert after is model
    answers(model, feeds_of(model))
