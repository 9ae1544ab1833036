"""Parameters and FLOPs: the true counts, and the counts by the formula behind the published figures."""

from collections import Counter
from math import prod

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from generator.commands.list import RULE
from generator.networks import INPUT_DIMS, NETWORKS, select
from generator.networks.architectures import figures, recount

# Parameters (M) and FLOPs (G) by independent counts: PaddleClas, timm and torchvision agree on them.
TRUE = {
    "densenet121": (7.979, 5.668),
    "densenet161": (28.681, 15.456),
    "densenet169": (14.149, 6.720),
    "densenet201": (20.014, 8.583),
    "densenet264": (33.338, 11.503),
    "dpn68": (12.612, 4.652),
    "dpn92": (37.668, 13.003),
    "dpn98": (61.571, 23.342),
    "dpn107": (86.918, 36.598),
    "dpn131": (79.255, 32.027),
}
# Counts by the published formula, computed without this program.
BY_FORMULA = {
    "densenet121": (7.978, 5.686),
    "densenet161": (28.680, 15.487),
    "densenet169": (14.148, 6.740),
    "densenet201": (20.013, 8.608),
    "densenet264": (33.337, 11.537),
    "dpn68": (10.781, 4.031),
    "dpn92": (36.291, 12.536),
    "dpn98": (58.465, 22.215),
    "dpn107": (82.971, 35.059),
    "dpn131": (75.360, 30.514),
}


@pytest.fixture(name="counts", scope="module")
def _counts():
    """True counts of the ten networks."""
    return {network.name: network.count() for network in NETWORKS}


@pytest.fixture(name="by_formula", scope="module")
def _by_formula(counts):
    """Counts of the ten networks by the published formula."""
    return {name: recount(counted.layers) for name, counted in counts.items()}


def rounded(counts):
    """Millions of parameters and GFLOPs, three decimals."""
    return {name: (round(one.parameters / 1e6, 3), round(one.flops / 1e9, 3)) for name, one in counts.items()}


def test_true_counts_match_independent_counts(counts):
    """Parameters and FLOPs agree with other implementations of the networks."""
    assert rounded(counts) == TRUE


def test_formula_counts_match_independent_counts(by_formula):
    """Parameters and FLOPs agree with the published formula as it was computed elsewhere."""
    assert rounded(by_formula) == BY_FORMULA


def test_formula_gives_the_published_figures(by_formula):
    """The formula gives 10 of 10 published FLOPs and 8 of 10 published parameters, to the printed digits."""
    flops = [
        network.name for network in NETWORKS if printed(by_formula[network.name].flops / 1e9, network.published.flops_g)
    ]
    parameters = [
        network.name
        for network in NETWORKS
        if printed(by_formula[network.name].parameters / 1e6, network.published.params_m)
    ]
    names = [network.name for network in NETWORKS]
    assert flops == names
    assert parameters == [name for name in names if name not in {"densenet264", "dpn98"}]


def printed(figure, published):
    """Tell if a figure is printed like the published one."""
    return f"{figure:.2f}" == f"{published:.2f}"


def test_note_on_the_formula_is_true(counts, by_formula):
    """The figures in the note of `tritongen list` are the counted ones."""
    note = " ".join(RULE.split())
    densenet264, dpn68, dpn98 = select(["densenet264", "dpn68", "dpn98"])
    assert f"DenseNet264's {densenet264.published.params_m} M" in note
    assert f"({by_formula[densenet264.name].parameters / 1e6:.2f})" in note
    exact = by_formula[dpn98.name].parameters / 1e6
    assert f"DPN98's {dpn98.published.params_m} M ({exact:.3f}, which rounds to {exact:.2f})" in note
    true = counts[dpn68.name]
    assert f"DPN68 has {true.parameters / 1e6:.2f} M parameters and {true.flops / 1e9:.2f} GFLOPs" in note


def test_formula_omits_grouped_convolutions(counts):
    """The formula counts zero for every grouped convolution but the last three of DPN68."""
    grouped = {name: [figures(layer) for layer in one.layers if layer.groups > 1] for name, one in counts.items()}
    omitted = {name: each.count((0, 0)) for name, each in grouped.items() if each}
    assert omitted == {"dpn68": 22 - 3, "dpn92": 30, "dpn98": 32, "dpn107": 35, "dpn131": 43}


@pytest.mark.parametrize("name", ["densenet121", "dpn68"])
def test_layers_match_the_torch_module(name, counts):
    """The listed layers are the operations that the torch module runs; parameters and FLOPs are torch's own counts."""
    module = select([name])[0].module()
    with torch.no_grad(), FlopCounterMode(display=False) as counter, Recorder() as recorder:
        module(torch.empty(1, *INPUT_DIMS, device="meta"))
    counted = counts[name]
    assert counted.flops == counter.get_total_flops()
    assert counted.parameters == sum(parameter.numel() for parameter in module.parameters())
    layers = [(layer.kind, layer.elements, layer.inputs, layer.kernel**2, layer.groups) for layer in counted.layers]
    assert Counter(layers) == Counter(recorder.layers)


class Recorder(TorchDispatchMode):
    """Records the layers among the operations that torch runs."""

    def __init__(self):
        super().__init__()
        self.layers = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run an operation and record its kind, output elements, input channels, window size and groups."""
        out = func(*args, **(kwargs or {}))
        elements = (out[0] if isinstance(out, tuple) else out).numel()
        aten = torch.ops.aten
        match func.overloadpacket:
            case aten.convolution:
                window, linear = args[1].shape[2:], out.shape[2:] == (1, 1)
                kind = "linear" if linear else "convolution"
                self.layers.append((kind, elements, args[0].shape[1], prod(window), args[8]))
            case aten.addmm:
                self.layers.append(("linear", elements, args[1].shape[1], 1, 1))
            case aten.native_batch_norm:
                self.layers.append(("batch norm", elements, 0, 1, 1))
            case aten.relu:
                self.layers.append(("relu", elements, 0, 1, 1))
            case aten.max_pool2d_with_indices | aten.avg_pool2d:
                self.layers.append(("pool", elements, 0, prod(args[1]), 1))
            case aten.mean:
                self.layers.append(("pool", elements, 0, args[0].numel() // elements, 1))
        return out
