"""`provenance.json`: what made a model, so that it can be made again and told from another."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from generator.spec import (
        BuildOptions,
        Certificate,
        Exported,
        Network,
        Preprocessing,
        Simplified,
        Weights,
    )

PACKAGES = ("tritongen", "torch", "onnx", "onnxsim", "onnxruntime", "numpy", "jinja2")


def provenance(
    *,
    network: Network,
    weights: Weights,
    preprocessing: Preprocessing,
    options: BuildOptions,
    exported: Exported,
    simplified: Simplified,
    certificate: Certificate,
    files: Mapping[str, bytes],
) -> bytes:
    """The text of the file; nothing of the machine or the hour is in it."""
    model = simplified.model
    record = {
        "network": {"name": network.name, **dataclasses.asdict(network.shape)},
        "weights": {"trained": weights.trained, **stated(weights)},
        "preprocessing": dataclasses.asdict(preprocessing),
        "options": dataclasses.asdict(options),
        "graph": {
            "exporter": exported.exporter,
            "ir_version": model.ir_version,
            "opset": {entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
            "nodes_exported": simplified.nodes_before,
            "nodes": simplified.nodes_after,
        },
        "certificate": certificate_record(certificate),
        "versions": {package: version(package) for package in PACKAGES},
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())},
    }
    return (json.dumps(record, indent=2) + "\n").encode()


def stated(weights: Weights) -> dict[str, Any]:
    """The fields that these weights have."""
    return {key: value for key, value in dataclasses.asdict(weights).items() if value is not None}


def certificate_record(certificate: Certificate) -> dict[str, Any]:
    """The certificate with the figure that it was judged by."""
    return {
        "compared": "ONNX Runtime on the CPU with torch, fp32 logits",
        "tolerance": certificate.tolerance,
        "batches": [
            {**dataclasses.asdict(batch), "relative_error": batch.relative_error} for batch in certificate.batches
        ],
    }
