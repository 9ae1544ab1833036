"""`provenance.json`: what made a model, so that it can be made again, told from another, and left as it is."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import cattrs

from generator.config.types import BuildOptions
from generator.graph.types import GraphFacts
from generator.repository.layout import LARGEST_BYTES, PROVENANCE_FILE, SEAL, VERSION
from generator.system.files import digest_of
from generator.types import Preprocessing, Signature, Weights
from generator.verify.certificate import BatchError, Certificate

if TYPE_CHECKING:
    from generator.builder.prepared import Prepared
    from generator.networks.types import Network
    from generator.repository.model_files import Published

PACKAGES = ("tritongen", "torch", "onnx", "onnxsim", "onnxruntime", "numpy")
CONVERTER = cattrs.Converter()
CONVERTER.register_structure_hook_func(
    lambda kind: kind == tuple[tuple[str, str], ...],
    lambda value, _: tuple((str(key), str(entry)) for key, entry in value.items()),
)


@dataclass(frozen=True)
class Provenance:
    """What is known of a model: all that its configs are rendered from, and what it was made by.

    `network` is what defines it, `blake3` the digests of its files, `template` that of a user's own.
    """

    network: dict[str, Any]
    weights: Weights
    preprocessing: Preprocessing | None
    options: BuildOptions
    template: str | None
    graph: GraphFacts
    signature: Signature
    certificate: Certificate
    versions: dict[str, str]
    blake3: dict[str, str]

    @property
    def graph_digests(self) -> dict[str, str]:
        """Those of the graph's files."""
        return {name: digest for name, digest in self.blake3.items() if name.startswith(f"{VERSION}/")}

    @property
    def variants(self) -> tuple[str, ...]:
        """The names of the configs of GPUs, such as t4-fp16."""
        names = sorted(PurePosixPath(name) for name in self.blake3)
        return tuple(name.stem for name in names if name.parent.name == "configs")


def of_prepared(network: Network, prepared: Prepared, options: BuildOptions, certificate: Certificate) -> Provenance:
    """Of a model that was just made, before its files are."""
    simplified, model = prepared.simplified, prepared.simplified.model
    graph = GraphFacts(
        exporter=prepared.exporter,
        ir_version=model.ir_version,
        opset={entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
        nodes_exported=simplified.nodes_before,
        nodes=simplified.nodes_after,
        rewrites=dict(simplified.rewrites),
        unsimplified=simplified.unsimplified,
    )
    return Provenance(
        network.record(), prepared.weights, prepared.preprocessing, options, None, graph,
        prepared.signature, certificate, versions(), {},
    )  # fmt: skip


def versions() -> dict[str, str]:
    """Of what a graph depends on."""
    return {package: version(package) for package in PACKAGES}


def text(found: Provenance) -> bytes:
    """The file; nothing of the machine is in it."""
    options = found.options
    serving = {**dataclasses.asdict(options.serving), "accelerator": dict(options.serving.accelerator)}
    record = {
        "network": found.network,
        "weights": {"random": found.weights.random, **stated(found.weights)},
        "preprocessing": dataclasses.asdict(found.preprocessing) if found.preprocessing else None,
        "options": {**dataclasses.asdict(options), "serving": serving},
        "template": found.template,
        "graph": {**dataclasses.asdict(found.graph), "unbatched": found.signature.unbatched},
        "signature": dataclasses.asdict(found.signature),
        "certificate": certificate_record(found.certificate),
        "versions": found.versions,
        "blake3": dict(sorted(found.blake3.items())),
    }
    return (json.dumps(record | {SEAL: seal(record)}, indent=2) + "\n").encode()


def seal(record: dict[str, Any]) -> str:
    """A digest of the rest of the file: an edit of it is seen, as one of any other file is."""
    return digest_of(json.dumps(record, sort_keys=True).encode())


def read(model: Published) -> Provenance:
    """Of a model in a repository.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not one that this tritongen writes.
    """
    content = model.read(PROVENANCE_FILE, LARGEST_BYTES + 1)
    if len(content) > LARGEST_BYTES:
        raise ValueError(model)
    try:
        record = json.loads(content)
        if record.pop(SEAL) != seal(record):
            raise ValueError(model)  # noqa: TRY301 (as of any other that is none)
        found = CONVERTER.structure(record, Provenance)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, cattrs.BaseValidationError) as error:
        raise ValueError(model) from error
    if any(name.startswith("/") or ".." in name.split("/") for name in found.blake3):
        raise ValueError(model)  # a file outside of the model's folder is none of it
    return found


def stated(weights: Weights) -> dict[str, Any]:
    """The fields that these weights have."""
    return {key: value for key, value in dataclasses.asdict(weights).items() if value is not None}


def certificate_record(certificate: Certificate) -> dict[str, Any]:
    """The certificate with the figures that it was judged by."""
    return {
        "reference": certificate.reference,
        "compared": f"ONNX Runtime on the CPU with {certificate.reference}, fp32",
        "inputs": certificate.inputs,
        "tolerance": certificate.tolerance,
        "batches": [error_record(batch) for batch in certificate.batches],
        "fp64": error_record(certificate.fp64, f"{certificate.reference} in fp32 with itself in fp64"),
        "fp16": error_record(
            certificate.fp16, f"an FP16 cast of the graph, by ONNX Runtime on the CPU, with {certificate.reference}"
        ),
    }


def error_record(error: BatchError | None, compared: str | None = None) -> dict[str, Any] | None:
    """One comparison; a figure that is not finite is written as text, since JSON has none."""
    if error is None:
        return None
    figures = {
        **dataclasses.asdict(error),
        "relative_error": error.relative_error,
        "relative_rms": error.relative_rms,
    }
    finite = {
        key: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in figures.items()
    }
    return {"compared": compared, **finite} if compared else finite
