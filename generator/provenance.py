"""`provenance.json`: what made a model, so that it can be made again and told from another."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from generator import serving_options
from generator.spec import DenseNetShape, DPNShape, OnnxFile, Plugin, TorchNetwork

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from generator.prepared import Prepared
    from generator.spec import BatchError, BuildOptions, Certificate, Network, Weights

PACKAGES = ("tritongen", "torch", "onnx", "onnxsim", "onnxruntime", "numpy", "jinja2")


def provenance(
    network: Network,
    prepared: Prepared,
    options: BuildOptions,
    certificate: Certificate,
    sha256: Mapping[str, str],
    template: Path | None,
) -> bytes:
    """The text of the file, with the digests of the others and of a user's template; nothing of the machine."""
    simplified, signature = prepared.simplified, prepared.signature
    model = simplified.model
    record = {
        "network": {"name": network.name, **made_of(network)},
        "weights": {"random": prepared.weights.random, **stated(prepared.weights)},
        "preprocessing": dataclasses.asdict(prepared.preprocessing) if prepared.preprocessing else None,
        "options": {**dataclasses.asdict(options), "serving": serving_options.record(options.serving)},
        "template": sha256_of(template) if template else None,
        "graph": {
            "exporter": prepared.exported.exporter,
            "ir_version": model.ir_version,
            "opset": {entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
            "nodes_exported": simplified.nodes_before,
            "nodes": simplified.nodes_after,
            "rewrites": dict(simplified.rewrites),
            "unsimplified": simplified.unsimplified,
            "unbatched": signature.unbatched,
        },
        "certificate": certificate_record(certificate),
        "versions": {package: version(package) for package in PACKAGES},
        "sha256": dict(sorted(sha256.items())),
    }
    return (json.dumps(record, indent=2) + "\n").encode()


def made_of(network: Network) -> dict[str, Any]:
    """The hyper-parameters, or the function, plugin or file of a network of the user's own."""
    match network.shape:
        case DenseNetShape() | DPNShape():
            return dataclasses.asdict(network.shape)
        case TorchNetwork():
            return {"torch": network.shape.target, "inputs": list(map(dataclasses.asdict, network.shape.inputs))}
        case Plugin():
            return {"plugin": network.shape.value}
        case OnnxFile():
            return {"onnx": network.shape.path.name, "dims": dict(network.shape.dims)}


def stated(weights: Weights) -> dict[str, Any]:
    """The fields that these weights have."""
    return {key: value for key, value in dataclasses.asdict(weights).items() if value is not None}


def certificate_record(certificate: Certificate) -> dict[str, Any]:
    """The certificate with the figures that it was judged by."""
    return {
        "compared": f"ONNX Runtime on the CPU with {certificate.reference}, fp32",
        "inputs": certificate.inputs,
        "tolerance": certificate.tolerance,
        "batches": [error_record(batch) for batch in certificate.batches],
        "fp64": error_record(certificate.fp64, f"{certificate.reference} in fp32 with itself in fp64"),
        "fp16_estimate": error_record(
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


def digests(files: Mapping[str, bytes | Path]) -> dict[str, str]:
    """The SHA-256 of each, in hex."""
    return {name: sha256_of(content) for name, content in files.items()}


def digest_of_folder(version: Path) -> str:
    """The same of a version's folder as it is on disk."""
    files = {str(path.relative_to(version)): path for path in version.rglob("*") if path.is_file()}
    return digest_of_version(digests(files))


def digest_of_version(digests: Mapping[str, str]) -> str:
    """SHA-256 over the names and the digests of a version's files, in hex."""
    return sha256_of(repr(dict(sorted(digests.items()))).encode())


def sha256_of(content: bytes | Path) -> str:
    """Of bytes or of a file, in hex."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
