"""All rewrites: by name, repeatedly, on whole networks, and on random graphs."""

from collections import Counter
from itertools import combinations

import numpy as np
import onnx
import pytest
import torch
from helpers import assert_near
from onnx import helper
from onnx_graphs import answers, node, noise, operators
from rewrite_graphs import (
    CONCAT,
    CONV,
    XYZ,
    RandomGraph,
    X,
    cut,
    join,
    net,
    rewritten,
)

from generator.graph.export import export
from generator.graph.rewrites import rewrite
from generator.graph.simplify import simplify
from generator.graph.types import REWRITES
from generator.networks.architectures import DenseNetShape, DPNShape
from generator.networks.densenet import DenseNet
from generator.networks.dpn import DPN
from generator.types import TensorSpec
from generator.weights.random_init import initialise


@pytest.mark.parametrize("operator", ["Conv", "Concat", "Slice", "Split"])
def test_other_domains_are_ignored(operator):
    """A node of another domain named Conv, Concat, Slice or Split is kept."""
    first = CONV if operator == "Conv" else CONCAT
    cutter = node("Split", ["c", "#2,4"], ["s", "t"], axis=1) if operator == "Split" else cut(0, 2)
    model = net(first, cutter, inputs=XYZ | X if operator == "Conv" else XYZ)
    assert rewrite(model, REWRITES)[1]
    for made in model.graph.node:
        if made.op_type == operator:
            made.domain = "my.ops"
    model.opset_import.append(helper.make_opsetid("my.ops", 1))
    assert rewrite(model, REWRITES) == (model, {})


def dual_path():
    """Return a graph for every rewrite, like a block of a dual path network."""
    nodes = [CONV, cut(0, 5, "r"), cut(5, 8, "d"), node("Relu", ["r"], ["q"])]
    nodes += [join("qd", "p"), cut(0, 5, "a", "p"), cut(5, 8, "e", "p"), join("ed", "f"), join("qf", "o")]
    return net(*nodes, read="oap")


SUBSETS = [names for count in range(len(REWRITES) + 1) for names in combinations(REWRITES, count)]


@pytest.mark.parametrize("names", SUBSETS)
def test_only_named_rewrites_are_applied(names):
    """None, each alone, in pairs and all, named in any order."""
    model = dual_path()
    after, applied = rewritten(model, reversed(names))
    assert applied == {name: {"slice-of-conv": 2, "slice-of-concat": 2, "concat-of-concat": 1}[name] for name in names}
    if not names:
        assert after is model


def test_rewriting_again_changes_nothing():
    """A second run finds nothing to rewrite."""
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
    """Export a network with random weights."""
    with torch.no_grad():
        initialise(module, np.random.default_rng(0))
    return export("small", module.eval(), (SMALL_INPUT,), ("output",))


@pytest.mark.parametrize("shape", DPNS.values(), ids=DPNS)
def test_no_slices_left_in_a_dual_path_network(shape):
    """Every block has two sliced convolutions; a path is sliced in every block but the first of a stage."""
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
    assert_near(one, other)


def test_a_densenet_has_nothing_to_rewrite():
    """Batch norms read its Concats, and nothing is sliced."""
    given = exported(DenseNet(DenseNetShape(8, 4, (2, 2, 2, 2)), classes=10, bn_eps=1e-5))
    plain, ours = simplify("small", given, ()), simplify("small", given)
    assert ours.rewrites == {}
    assert ours.model == plain.model


def test_random_graphs_give_equal_answers():
    """Sixty graphs, in which every rewrite is applied at least once."""
    total = Counter()
    for seed in range(60):
        model = RandomGraph(seed).model()
        _, applied = rewritten(model)
        total.update(applied)
    assert all(total[name] >= 5 for name in REWRITES), total
