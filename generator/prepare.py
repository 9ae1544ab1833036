"""The first steps of a build, which differ by what a network is made of: its weights, and its graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

from generator.export import export
from generator.labels import IMAGENET
from generator.networks import INPUT
from generator.networks.own import load_plugin
from generator.own_onnx import from_onnx
from generator.own_torch import from_torch
from generator.prepared import Prepared
from generator.references import TorchReference
from generator.signature import signature
from generator.simplify import simplify
from generator.spec import DenseNetShape, DPNShape, OnnxFile, Plugin, Preprocessing, TorchNetwork
from generator.weights.load import load
from generator.weights.random import random_network

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import nn

    from generator.spec import BuildOptions, Network, Weights
    from generator.to_do import Job


def prepare(job: Job, on_step: Callable[[str], None]) -> Prepared:
    """Weights, export, simplify.

    Raises:
        TritongenError: what the network is made of gives no graph that can be served.
    """
    network, options, definition = job.network, job.options, job.network.shape
    if isinstance(definition, Plugin):
        definition = load_plugin(definition)
    match definition:
        case OnnxFile():
            return from_onnx(network.name, definition, options, on_step)
        case TorchNetwork():
            return from_torch(network.name, definition, options, on_step)
        case DenseNetShape() | DPNShape():
            return from_table(network, job.weights, options, on_step)


def from_table(network: Network, source: int | Path, options: BuildOptions, on_step: Callable[[str], None]) -> Prepared:
    """One of the ten."""
    on_step("weights")
    module, weights, preprocessing = loaded(network, source)
    on_step("export")
    exported = export(network.name, module, (INPUT,), ("output",))
    on_step("simplify")
    simplified = simplify(network.name, exported, options.rewrites)
    return Prepared(
        exported.exporter,
        simplified,
        signature(network.name, simplified.model),
        TorchReference(module),
        weights,
        preprocessing,
        IMAGENET,
    )


def loaded(network: Network, source: int | Path) -> tuple[nn.Module, Weights, Preprocessing]:
    """The module with random weights, of which images are taken ImageNet's way, or with a file's."""
    if isinstance(source, int):
        return (*random_network(network, source), Preprocessing())
    return load(network, source)
