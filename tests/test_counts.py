"""Counting: the true parameters and FLOPs, and those of the published page by its own rule."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from generator.commands.list import RULE
from generator.networks import INPUT_DIMS, NETWORKS, create, select
from generator.networks.flops import Recorder, count, count_module
from generator.networks.paddle_flops import figures, recount

# Parameters (M) and 2·MACs (G) by independent counts: PaddleClas, timm and torchvision agree on them.
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
# The same by the published rule, worked out apart from this program.
BY_RULE = {
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
    """All ten, counted once."""
    return {network.name: count(network) for network in NETWORKS}


@pytest.fixture(name="by_rule", scope="module")
def _by_rule(counts):
    """All ten by the published rule."""
    return {name: recount(counted.layers) for name, counted in counts.items()}


def rounded(counts):
    """Millions of parameters and GFLOPs, three decimals."""
    return {name: (round(one.parameters / 1e6, 3), round(one.flops / 1e9, 3)) for name, one in counts.items()}


def test_counts_are_the_true_ones(counts):
    """Each network has the parameters and FLOPs of its definition elsewhere."""
    assert rounded(counts) == TRUE


def test_counts_by_the_published_rule(by_rule):
    """Each network has the figures that the rule of the page gives it."""
    assert rounded(by_rule) == BY_RULE


def test_the_rule_gives_the_published_figures(by_rule):
    """To the printed digits: 10 of 10 FLOPs, 8 of 10 parameters."""
    flops = [
        network.name for network in NETWORKS if printed(by_rule[network.name].flops / 1e9, network.published.flops_g)
    ]
    parameters = [
        network.name
        for network in NETWORKS
        if printed(by_rule[network.name].parameters / 1e6, network.published.params_m)
    ]
    names = [network.name for network in NETWORKS]
    assert flops == names
    assert parameters == [name for name in names if name not in {"densenet264", "dpn98"}]


def printed(figure, published):
    """Whether a figure is printed as the published one."""
    return f"{figure:.2f}" == f"{published:.2f}"


def test_the_note_on_the_rule(counts, by_rule):
    """What `tritongen list` says of the rule is what the counts say."""
    note = " ".join(RULE.split())
    densenet264, dpn68, dpn98 = select(["densenet264", "dpn68", "dpn98"])
    assert f"DenseNet264's {densenet264.published.params_m} M" in note
    assert f"({by_rule[densenet264.name].parameters / 1e6:.2f})" in note
    exact = by_rule[dpn98.name].parameters / 1e6
    assert f"DPN98's {dpn98.published.params_m} M ({exact:.3f}, which rounds to {exact:.2f})" in note
    true = counts[dpn68.name]
    assert f"DPN68 has {true.parameters / 1e6:.2f} M parameters and {true.flops / 1e9:.2f} GFLOPs" in note


def test_what_the_rule_leaves_out(counts):
    """Every grouped convolution of the DPNs, but for the last three of DPN68."""
    grouped = {name: [figures(layer) for layer in one.layers if layer.groups > 1] for name, one in counts.items()}
    left_out = {name: each.count((0, 0)) for name, each in grouped.items() if each}
    assert left_out == {"dpn68": 22 - 3, "dpn92": 30, "dpn98": 32, "dpn107": 35, "dpn131": 43}


@pytest.mark.parametrize("name", ["densenet121", "dpn68"])
def test_flops_are_those_of_torch(name, counts):
    """torch.utils.flop_counter, on torch's own kernels, gives the same."""
    module = create(*select([name]))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(torch.empty(1, *INPUT_DIMS, device="meta"))
    assert counts[name].flops == counter.get_total_flops()


IMAGE = torch.empty(2, 8, 19, 23, device="meta")
OPERATIONS = {
    "convolution": lambda: nn.Conv2d(8, 6, (3, 5), stride=(1, 2), padding=(0, 3), dilation=2, groups=2)(IMAGE),
    "same padding": lambda: nn.Conv2d(8, 6, 3, padding="same")(IMAGE),
    "one dimension": lambda: nn.Conv1d(8, 6, 3, stride=2)(IMAGE.flatten(2)),
    "three dimensions": lambda: nn.Conv3d(8, 6, (1, 2, 3))(IMAGE[:, :, None]),
    "transposed": lambda: nn.ConvTranspose2d(8, 6, 3, stride=2, output_padding=1, groups=2)(IMAGE),
    "max pool": lambda: functional.max_pool2d(IMAGE, 3, 2, 1),
    "max pool with where": lambda: functional.max_pool2d(IMAGE, (3, 2), return_indices=True)[1],
    "max pool, dilated": lambda: functional.max_pool2d(IMAGE, 3, 2, 1, 2),
    "max pool, ceiling": lambda: functional.max_pool2d(IMAGE, 2, ceil_mode=True),
    "max pool, no batch": lambda: functional.max_pool2d(IMAGE[0], 2),
    "average pool": lambda: functional.avg_pool2d(IMAGE, 3, (2, 1), 1),
    "average pool, ceiling": lambda: functional.avg_pool2d(IMAGE, 2, ceil_mode=True),
    "global average pool": lambda: functional.adaptive_avg_pool2d(IMAGE, 1),
    "mean": lambda: IMAGE.mean((-1, 1)),
    "mean of all": IMAGE.mean,
    "mean, another type": lambda: IMAGE.mean(1, dtype=torch.float64),
    "batch norm": lambda: nn.BatchNorm2d(8).eval()(IMAGE),
    "relu": lambda: functional.relu(IMAGE[0, 0, 0]),
    "relu in place": lambda: functional.relu(IMAGE.clone(), inplace=True),
    "concatenation": lambda: torch.cat([IMAGE, IMAGE[..., :3]], -1),
    "concatenation of types": lambda: torch.cat([IMAGE, IMAGE.double()]),
    "sum": lambda: IMAGE + IMAGE,
    "sum, broadcast": lambda: IMAGE[:1] + IMAGE[:, :1],
    "sum, a number": lambda: IMAGE + 1,
    "sum, types": lambda: IMAGE.half() + IMAGE,
    "linear": lambda: nn.Linear(23, 5)(IMAGE),
    "matrix products": lambda: IMAGE @ IMAGE.transpose(2, 3) @ IMAGE,
    "attention": lambda: nn.MultiheadAttention(8, 2)(*[IMAGE.flatten(2).permute(2, 0, 1)] * 3)[0],
    "recurrence": lambda: nn.LSTM(23, 7)(IMAGE[0])[0],
}


@pytest.mark.parametrize("inference", [False, True], ids=["no grad", "inference"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_any_module_is_counted(operation, inference):
    """An operation has the shape, type and FLOPs of torch's own kernels, whether it runs or is answered."""
    call = OPERATIONS[operation]
    with torch.no_grad(), torch.device("meta"), torch.inference_mode(inference):
        with FlopCounterMode(display=False) as counter:
            expected = call()
        with Recorder() as recorder:
            out = call()
    assert (out.shape, out.dtype) == (expected.shape, expected.dtype)
    assert recorder.flops == counter.get_total_flops()


def test_a_module_of_any_kind():
    """Weights need not be on the meta device, and there may be several inputs."""
    module = nn.Bilinear(3, 4, 5)
    counts = count_module(module, torch.rand(1, 3), torch.rand(1, 4))
    assert (counts.parameters, counts.layers) == (3 * 4 * 5 + 5, ())
