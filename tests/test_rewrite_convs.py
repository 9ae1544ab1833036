"""Rewrite of sliced convolutions: when it applies and when it must not."""

from collections import Counter

import numpy as np
import pytest
from onnx import helper, numpy_helper
from onnx_graphs import answers, model_of, node, operators, tensor
from rewrite_graphs import (
    CONV,
    END,
    WEIGHTS,
    X,
    cut,
    feeds_of,
    net,
    rewritten,
    unknown,
)

from generator.graph.rewrites import rewrite
from generator.graph.types import REWRITES

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
def test_sliced_convolution_is_split(model, replaced, convolutions):
    """No Slice or Split is left, and each range of channels is computed once."""
    after, applied = rewritten(model)
    assert applied == {"slice-of-conv": replaced}
    assert Counter(operators(after).split()) == {"Conv": convolutions, "Relu": len(model.graph.output)}


def test_unused_filters_are_removed():
    """The original filters are removed; convolutions that share them share the parts."""
    after, _ = rewritten(CUT_CONVS["two convolutions with the same filters"][0])
    filters = {held.name: held.dims[0] for held in after.graph.initializer if len(held.dims) == 4}
    assert sorted(filters.values()) == [3, 5]
    after, _ = rewritten(CUT_CONVS["channels that nobody reads"][0])
    assert [held.dims[0] for held in after.graph.initializer if len(held.dims) == 4] == [2, 2]


def with_branches(then, otherwise):
    """Return a convolution that is sliced outside an If whose branches, which compute `i`, read it too."""
    output = tensor("i", None)
    branches = {
        name: helper.make_graph(nodes, name, [], [output])
        for name, nodes in (("then_branch", then), ("else_branch", otherwise))
    }
    nodes = [CONV, node("If", ["yes"], ["o"], **branches), cut(3, 8), node("Relu", ["s"], ["r"])]
    inside = {"#0": np.array([0]), "#1": np.array([1]), "#3": np.array([3]), "yes": np.array(1, np.bool_)}
    return model_of(nodes, X, ["o", "r"], WEIGHTS | inside)


def test_slice_in_a_branch():
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
    """Turn a constant into an input with a default."""
    array = WEIGHTS[name]
    model.graph.input.append(tensor(name, array.shape))
    return model


def sparse(model):
    """Add a sparse constant to a model."""
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
def test_convolutions_that_are_kept(model):
    """The model is unchanged."""
    feeds = feeds_of(model)
    after, applied = rewrite(model, REWRITES)
    assert applied == {}
    assert after is model
    answers(model, feeds)  # it is a model that runs, so that it is not left for being broken


def test_input_with_a_default_can_be_overridden():
    """A value in a request replaces the default."""
    model = UNCUT_CONVS["filters that are an input with a default"]
    feeds = feeds_of(model) | {"w": 2 * WEIGHTS["w"]}
    assert not np.allclose(answers(rewrite(model, REWRITES)[0], feeds)[0], answers(model, {"x": feeds["x"]})[0])
