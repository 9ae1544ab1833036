"""Graphs for the rewrites, and a check for equal answers."""

import numpy as np
import onnx
from onnx_graphs import answers, model_of, node, noise

from generator.graph.rewrites import rewrite
from generator.graph.types import REWRITES

X = {"x": [1, 3, 4, 4]}
WEIGHTS = {"w": noise(8, 3, 3, 3), "b": noise(8, seed=1), "grouped": noise(6, 1, 1, 1), "line": noise(8, 3, 3)}
END = 2**63 - 1
CONV = node("Conv", ["x", "w"], ["c"])  # 8 channels
CONCAT = node("Concat", ["x", "y", "z"], ["c"], axis=1)  # seams at 0, 2, 5, 6
XYZ = {"x": [1, 2, 4, 4], "y": [1, 3, 4, 4], "z": [1, 1, 4, 4]}
LAST = {"x": [1, 4, 4, 2], "y": [1, 4, 4, 3], "z": [1, 4, 4, 1]}


def cut(start, end, output="s", source="c", axis=1, step=1):
    """Return a Slice of one axis."""
    return node("Slice", [source, f"#{start}", f"#{end}", f"#{axis}", f"#{step}"], [output])


def net(*nodes, read="s", inputs=X, constants=None, **options):
    """Return a graph with a Relu on each of the named values (one letter each) as its outputs."""
    relus = [node("Relu", [value], [f"relu_{value}"]) for value in read]
    return model_of(
        [*nodes, *relus], inputs, [f"relu_{value}" for value in read], WEIGHTS | (constants or {}), **options
    )


def rewritten(model, names=REWRITES):
    """Rewrite a model; check validity, interface and answers; return it with the applied rewrites."""
    after, applied = rewrite(model, names)
    onnx.checker.check_model(after, full_check=True)
    assert list(after.graph.input) == list(model.graph.input)
    assert list(after.graph.output) == list(model.graph.output)
    feeds = feeds_of(model)
    for given, expected in zip(answers(after, feeds), answers(model, feeds), strict=True):
        # A cut convolution may sum in another order than the whole one; a wrong rewrite is off by far more than this.
        np.testing.assert_allclose(given, expected, rtol=0, atol=1e-5 * max(1, np.abs(expected).max(initial=0)))
    assert sum(applied.values()) > 0 or after is model
    return after, applied


def feeds_of(model):
    """Return noise of the declared shapes; open dims are 3."""
    shapes = {
        value.name: [dim.dim_value or 3 for dim in value.type.tensor_type.shape.dim] for value in model.graph.input
    }
    return {name: noise(*shape, seed=place) for place, (name, shape) in enumerate(shapes.items())}


def unknown(model, name):
    """Remove the shape of a value from a model."""
    model.graph.value_info.remove(next(value for value in model.graph.value_info if value.name == name))
    return model


def joined(*nodes, read="c", axis=1, **options):
    """Return a graph of Concats of x, y and z."""
    inputs = XYZ if axis == 1 else LAST
    return net(*nodes, read=read, inputs=inputs, **options)


def join(names, output, axis=1):
    """Return a Concat of values with one-letter names."""
    return node("Concat", list(names), [output], axis=axis)


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
        """Make a model; unused tensors, and now and then used ones, are its outputs."""
        made = [name for each in self.nodes for name in each.output]
        read = {name for each in self.nodes for name in each.input}
        outputs = [name for name in made if name not in read or self.random.random() < 0.1]
        return model_of(self.nodes, self.inputs, outputs, self.constants)
