"""The first steps of a build, which differ by what a network is made of: its weights, and its graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

from generator.builder.prepare_onnx import from_onnx
from generator.builder.prepare_torch import from_torch
from generator.builder.prepared import Prepared
from generator.graph.export import export
from generator.graph.signature import signature
from generator.graph.simplify import simplify
from generator.networks import INPUT
from generator.networks.user_networks import OnnxFile, TorchNetwork
from generator.types import Preprocessing
from generator.verify.references import TorchReference
from generator.weights.load import load
from generator.weights.random_init import random_network

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import nn

    from generator.builder.staleness import Job
    from generator.config.types import BuildOptions
    from generator.networks.types import Network
    from generator.types import Weights


def prepare(job: Job, on_step: Callable[[str], None]) -> Prepared:
    """Weights, export, simplify.

    Raises:
        TritongenError: what the network is made of gives no graph that can be served.
    """
    network, options = job.network, job.options
    match network.definition.resolve():
        case OnnxFile() as definition:
            return from_onnx(network.name, definition, options, on_step)
        case TorchNetwork() as definition:
            return from_torch(network.name, definition, options, on_step)
        case _:
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
    )


def loaded(network: Network, source: int | Path) -> tuple[nn.Module, Weights, Preprocessing]:
    """The module with random weights, of which images are taken ImageNet's way, or with a file's."""
    if isinstance(source, int):
        return (*random_network(network, source), Preprocessing())
    return load(network, source)
