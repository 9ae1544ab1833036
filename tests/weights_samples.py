"""Sample weights: each publisher's names for the parameters, in each file format."""

from __future__ import annotations

import pickle
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import safetensors.torch
import torch

from generator.networks import NETWORKS
from generator.networks.architectures import DenseNetShape, DPNShape
from generator.networks.types import Network

if TYPE_CHECKING:
    from pathlib import Path

# Networks of the same build as the ten, of a few thousand parameters.
TINY_DENSENET = Network("tinydense", "TinyDense", DenseNetShape(8, 4, (1, 2, 1, 1)), published=None)
TINY_DPN = Network("tinydpn", "TinyDPN", DPNShape(4, 3, 8, 4, 2, (2, 1, 3, 1), (2, 4, 2, 2)), published=None)
BY_NAME = {network.name: network for network in (*NETWORKS, TINY_DENSENET, TINY_DPN)}
PERIOD = 1 << 18
NUMBERS = torch.randn(PERIOD + 4096, generator=torch.Generator().manual_seed(0))


def state_dict(network):
    """Return seeded parameters for a network; no two tensors are equal."""
    state = {}
    for i, (name, meta) in enumerate(parameters(network).items()):
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(i)
            continue
        periods = -(-meta.numel() // PERIOD)
        values = (NUMBERS[i : i + PERIOD].repeat(periods) if periods > 1 else NUMBERS[i:])[: meta.numel()]
        state[name] = (values.abs() if name.endswith("running_var") else values.clone()).reshape(meta.shape)
    return state


@cache
def parameters(network):
    """Return the names and shapes, cached since they take longer than the values of a tiny network."""
    return network.module().state_dict()


def paddle_names(network):
    """Return PaddleClas's name for each of our names, layer by layer as PaddleClas builds the networks."""
    layers = (
        densenet_layers(network.definition)
        if isinstance(network.definition, DenseNetShape)
        else dpn_layers(network.definition)
    )
    names = {"classifier.weight": "out.weight", "classifier.bias": "out.bias"}
    for ours, paddles, kind in layers:
        if kind == "conv":
            names[f"{ours}.weight"] = f"{paddles}.weight"
        else:
            names |= {
                f"{ours}.weight": f"{paddles}.weight",
                f"{ours}.bias": f"{paddles}.bias",
                f"{ours}.running_mean": f"{paddles}._mean",
                f"{ours}.running_var": f"{paddles}._variance",
            }
    return names


def densenet_layers(shape):
    """Yield our name, PaddleClas's name and the kind of each layer of a DenseNet."""
    yield "features.conv0", "conv1_func._conv", "conv"
    yield "features.norm0", "conv1_func._batch_norm", "norm"
    for i in range(4):
        for layer in range(shape.blocks[i]):
            ours = f"features.denseblock{i + 1}.denselayer{layer + 1}"
            paddles = f"db_conv_{i + 2}.conv{i + 2}_{layer + 1}"
            yield f"{ours}.norm1", f"{paddles}.bn_ac_func1._batch_norm", "norm"
            yield f"{ours}.conv1", f"{paddles}.bn_ac_func1._conv", "conv"
            yield f"{ours}.norm2", f"{paddles}.bn_ac_func2._batch_norm", "norm"
            yield f"{ours}.conv2", f"{paddles}.bn_ac_func2._conv", "conv"
        if i < 3:
            yield f"features.transition{i + 1}.norm", f"tr_conv{i + 2}_blk.conv_ac_func._batch_norm", "norm"
            yield f"features.transition{i + 1}.conv", f"tr_conv{i + 2}_blk.conv_ac_func._conv", "conv"
    yield "features.norm5", "batch_norm", "norm"


def dpn_layers(shape):
    """Yield our name, PaddleClas's name and the kind of each layer of a DPN."""
    yield "features.conv1_1.conv", "conv1_x_1_func._conv", "conv"
    yield "features.conv1_1.bn", "conv1_x_1_func._batch_norm", "norm"
    count = 0
    for stage in range(4):
        for block in range(shape.blocks[stage]):
            count += 1
            units = {"c1x1_a": "c1x1_a_func", "c3x3_b": "c3x3_b_func", "c1x1_c": "c1x1_c_func"}
            if block == 0:
                units["c1x1_w_s1" if stage == 0 else "c1x1_w_s2"] = "c1x1_w_func"
            for ours, paddles in units.items():
                yield f"features.conv{stage + 2}_{block + 1}.{ours}.bn", f"dpn{count}.{paddles}._batch_norm", "norm"
                yield f"features.conv{stage + 2}_{block + 1}.{ours}.conv", f"dpn{count}.{paddles}._conv", "conv"
    yield "features.conv5_bn_ac.bn", "conv5_x_x_bn", "norm"


def as_paddle(network, state):
    """Return the state under PaddleClas's names, the classifier as [in, out]."""
    named = {theirs: state[ours] for ours, theirs in paddle_names(network).items()}
    weight = named["out.weight"]
    named["out.weight"] = weight.reshape(weight.shape[:2]).t().contiguous()
    return named


def as_old_torchvision(state):
    """Return the state under torch 0.3's names: `norm.1` for `norm1`, and no counters."""
    parts = {f".{part}{n}.": f".{part}.{n}." for part in ("norm", "conv") for n in (1, 2)}
    named = {}
    for name, value in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        if "denselayer" in name:
            for new, old in parts.items():
                name = name.replace(new, old)  # noqa: PLW2901
        named[name] = value
    return named


def paddle_content(named, protocol):
    """Return the bytes that `paddle.save` writes: numpy arrays, and Paddle's second names."""
    arrays = {name: value.numpy() if isinstance(value, torch.Tensor) else value for name, value in named.items()}
    table = {name: f"param_{i}" for i, name in enumerate(named)}
    return pickle.dumps({**arrays, "StructuredToParameterName@@": table}, protocol=protocol)


def write(path: Path, named, container):
    """Write tensors in one of the formats of TORCH and PADDLE."""
    match container.split():
        case ["torch", "zip"]:
            torch.save(named, path)
        case ["torch", "legacy"]:
            torch.save(named, path, _use_new_zipfile_serialization=False)
        case ["safetensors"]:
            safetensors.torch.save_file({key: value.contiguous() for key, value in named.items()}, path)
        case ["Paddle", "pickle", protocol]:
            path.write_bytes(paddle_content(named, int(protocol)))
    return path


TORCH = ("torch zip", "torch legacy", "safetensors")
PADDLE = ("Paddle pickle 2", "Paddle pickle 3", "Paddle pickle 4", "Paddle pickle 5", "safetensors")


class Call:
    """An object whose pickle is a call."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        """Return the call."""
        return self.call

    def __call__(self):
        """Make the object callable, so that its result can be called."""


def big_endian(array):
    """Return the array in big-endian byte order."""
    return array.astype(np.dtype(array.dtype).newbyteorder(">"))
