"""Build one model: weights, export, simplify, verify, and the files around the graph."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from generator.builder.prepare_onnx import prepare_onnx
from generator.builder.prepare_torch import prepare_torch
from generator.builder.provenance import Provenance, new_provenance
from generator.builder.staleness import network_record, with_texts
from generator.builder.types import Job, Prepared
from generator.graph.export import export
from generator.graph.large_weights import serialized
from generator.graph.signature import signature
from generator.graph.simplify import simplify
from generator.networks import INPUT
from generator.networks.user_networks import OnnxFile, TorchNetwork
from generator.repository import folder, layout
from generator.system.files import digests
from generator.system.native import return_memory
from generator.types import Preprocessing
from generator.verify.compare import verify
from generator.verify.references import TorchReference
from generator.weights.load import load
from generator.weights.random_init import random_network


def build_model(job: Job, staged: Path, on_step: Callable[[str], None]) -> tuple[Provenance, dict[str, bytes]]:
    """Write a verified graph; return the model's provenance and its other files.

    Args:
        job: the model to build.
        staged: the folder that will be published; only the graph is written there.
        on_step: called with the name of each step when it begins.

    Raises:
        TritongenError: the model cannot be built, or its answers differ from those of the network.
    """
    prepared = prepare(job, on_step)
    simplified = prepared.simplified
    graph: dict[str, bytes | Path | Iterator[bytes]] = {
        layout.MODEL_FILE: serialized(simplified.model),
        **{f"{layout.VERSION}/{name}": path for name, path in simplified.sidecars.items()},
    }
    folder.write_model(staged, graph)
    return_memory()  # the exporter's copies of the weights

    on_step("verify")
    certificate = verify(
        job.network.name,
        staged / layout.MODEL_FILE,
        simplified.model,
        prepared.reference,
        prepared.signature,
        preprocessing=prepared.preprocessing,
        tolerance=job.options.tolerance,
    )

    on_step("publish")
    provenance = replace(
        new_provenance(job.network, prepared, job.options, certificate),
        network=network_record(job),
        blake3=digests({name: staged / name for name in graph}),
    )
    return with_texts(job, provenance)


def prepare(job: Job, on_step: Callable[[str], None]) -> Prepared:
    """Load the weights, export and simplify a network.

    Raises:
        TritongenError: the network gives no graph that Triton can serve.
    """
    network, options = job.network, job.options
    match network.definition.resolve():
        case OnnxFile() as definition:
            return prepare_onnx(network.name, definition, options, on_step)
        case TorchNetwork() as definition:
            return prepare_torch(network.name, definition, options, on_step)
        case _:
            on_step("weights")
            if isinstance(job.weights, int):
                module, weights = random_network(network, job.weights)
                preprocessing = Preprocessing()
            else:
                module, weights, preprocessing = load(network, job.weights)
            on_step("export")
            exported = export(network.name, module, (INPUT,), ("output",))
            on_step("simplify")
            simplified = simplify(network.name, exported, options.rewrites)
            served = signature(network.name, simplified.model)
            return Prepared(exported.exporter, simplified, served, TorchReference(module), weights, preprocessing)
