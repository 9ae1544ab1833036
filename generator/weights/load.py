"""A network with the parameters of a file."""

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import torch

from generator.errors import BadValue, WeightsUnusable, quoted
from generator.networks import NETWORKS
from generator.networks.types import Network
from generator.system.text import listed
from generator.types import Preprocessing, Weights
from generator.weights import containers, naming
from generator.weights.naming import Source

COUNTER = ".num_batches_tracked"  # training steps of a batch norm; inference ignores it, and files may lack it


def load(network: Network, path: Path) -> tuple[torch.nn.Module, Weights, Preprocessing]:
    """Return the network in evaluation mode with the file's parameters, their source, and how it takes images.

    Raises:
        BadValue: the network has weights of its own.
        WeightsUnusable: the file does not hold the parameters of this network.
    """
    if network.definition.own_weights:
        raise BadValue("weights", path, f"{network.name} is a network of your own and loads its own weights")
    data = containers.content(path)
    container, tensors = containers.parse(path, data)
    source = naming.recognise(tensors, container, network)
    if source is None:
        raise WeightsUnusable(path, f"its parameters are not those of a DenseNet or DPN: {listed(tensors)}")
    if why := misfit(network, source, tensors):
        others = (other for other in NETWORKS if other != network)
        fits = next((other for other in others if not misfit(other, source, tensors)), None)
        if fits:
            raise WeightsUnusable(path, f"it fits {fits.name}, not {network.name}", f"`models={fits.name}` accepts it")
        raise WeightsUnusable(path, why)
    if why := unusable_values(tensors, {key: source.rename(key, network) for key in tensors}):
        raise WeightsUnusable(path, why)
    module = network.module(bn_eps=source.bn_eps)
    module.load_state_dict(arranged(network, source, tensors), assign=True)
    weights = Weights(source.name, file=path.name, sha256=hashlib.sha256(data).hexdigest(), bn_eps=source.bn_eps)
    return module, weights, source.preprocessing


@cache
def parameters(network: Network) -> dict[str, torch.Tensor]:
    """Return the network's parameters without values."""
    return network.module().state_dict()


def misfit(network: Network, source: Source, tensors: Mapping[str, torch.Tensor]) -> str | None:
    """Return why the tensors, under the source's names, are not the network's parameters."""
    expected = parameters(network)
    ours = {key: source.rename(key, network) for key in tensors}
    named = set(ours.values())
    if missing := [key for key in expected if key not in named and not key.endswith(COUNTER)]:
        return f"it lacks {listed(missing)} of {network.name}"
    if unknown := [key for key, name in ours.items() if name not in expected]:
        return f"it has {listed(unknown)}, which {network.name} does not have"
    if len(named) != len(ours):
        return "it has one parameter under two names"
    for key, name in ours.items():
        shape, wanted = list(tensors[key].shape), list(expected[name].shape)
        if source.in_out and name == "classifier.weight":
            wanted = [wanted[1], wanted[0]]
        if shape != wanted:
            return f"its {quoted(key)} has the shape {shape}, but {network.name} needs {wanted}"
        if tensors[key].is_floating_point() != expected[name].is_floating_point():
            found, needed = map(containers.dtype_name, (tensors[key], expected[name]))
            return f"its {quoted(key)} holds {found}, not {needed}"
    return None


def unusable_values(tensors: Mapping[str, torch.Tensor], ours: Mapping[str, str]) -> str | None:
    """Return which parameters have values that no trained network has."""
    ranges = {key: tensor.aminmax() for key, tensor in tensors.items() if tensor.is_floating_point()}
    # If there is a NaN, it is the minimum and the maximum.
    if odd := [key for key, ends in ranges.items() if not torch.isfinite(torch.stack(list(ends))).all()]:
        return f"it has NaN or infinite values in {listed(odd)}"
    if negative := [key for key, ends in ranges.items() if ours[key].endswith(".running_var") and ends.min < 0]:
        return f"it has negative variances in {listed(negative)}"
    return None


def arranged(network: Network, source: Source, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the source's tensors as the network's state dict."""
    expected = parameters(network)
    state = {key: torch.zeros((), dtype=torch.int64) for key in expected if key.endswith(COUNTER)}
    for key, tensor in tensors.items():
        name = source.rename(key, network)
        state[name] = tensor.to(expected[name].dtype)
    if source.in_out:
        weight = state["classifier.weight"].t().contiguous()
        # The classifier of a DPN is a 1x1 convolution.
        state["classifier.weight"] = weight.reshape(expected["classifier.weight"].shape)
    return state
