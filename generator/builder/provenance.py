"""Read and write `provenance.json`: the record of how a model was built, for reproducible and incremental builds."""

import dataclasses
import json
import math
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import PurePosixPath
from typing import Any

import cattrs

from generator.config.types import BuildOptions
from generator.graph.types import GraphFacts
from generator.repository.folder import Published
from generator.repository.layout import LARGEST_BYTES, PROVENANCE_FILE, SEAL, VERSION
from generator.system.files import digest_of
from generator.types import Preprocessing, Signature, Weights
from generator.verify.certificate import BatchError, Certificate

PACKAGES = ("tritongen", "torch", "onnx", "onnxsim", "onnxruntime", "numpy")
CONVERTER = cattrs.Converter()
CONVERTER.register_structure_hook_func(
    lambda kind: kind == tuple[tuple[str, str], ...],
    lambda value, _: tuple((str(key), str(entry)) for key, entry in value.items()),
)


@dataclass(frozen=True)
class Provenance:
    """The record of a model: the values that its configs are rendered from, and how it was built.

    `network` defines the network, `blake3` holds the digests of its files, `template` that of a user's template.
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
        """The digests of the graph's files."""
        return {name: digest for name, digest in self.blake3.items() if name.startswith(f"{VERSION}/")}

    @property
    def variants(self) -> tuple[str, ...]:
        """The names of the GPU configs, such as t4-fp16."""
        names = sorted(PurePosixPath(name) for name in self.blake3)
        return tuple(name.stem for name in names if name.parent.name == "configs")


def versions() -> dict[str, str]:
    """Return the versions of the packages that a graph depends on."""
    return {package: version(package) for package in PACKAGES}


def serialized(provenance: Provenance) -> bytes:
    """Return the content of the file, which is independent of the machine."""
    record = dataclasses.asdict(provenance)
    weights = {key: value for key, value in record["weights"].items() if value is not None}
    record["weights"] = {"random": provenance.weights.random, **weights}
    record["options"]["serving"]["accelerator"] = dict(provenance.options.serving.accelerator)
    record["graph"]["unbatched"] = provenance.signature.unbatched
    record["certificate"] = certificate_record(provenance.certificate)
    record["blake3"] = dict(sorted(provenance.blake3.items()))
    return (json.dumps(record | {SEAL: seal(record)}, indent=2) + "\n").encode()


def seal(record: dict[str, Any]) -> str:
    """Return the digest of the rest of the file, so that an edit is detected."""
    return digest_of(json.dumps(record, sort_keys=True).encode())


def read(model: Published) -> Provenance:
    """Read the record of a model in a repository.

    Raises:
        OSError: the file cannot be read.
        ValueError: this version of tritongen did not write the file.
    """
    content = model.read(PROVENANCE_FILE, LARGEST_BYTES + 1)
    if len(content) > LARGEST_BYTES:
        raise ValueError(model)
    try:
        record = json.loads(content)
        if record.pop(SEAL) != seal(record):
            raise ValueError(model)  # noqa: TRY301 (one handler for all invalid files)
        provenance = CONVERTER.structure(record, Provenance)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, cattrs.BaseValidationError) as error:
        raise ValueError(model) from error
    if any(name.startswith("/") or ".." in name.split("/") for name in provenance.blake3):
        raise ValueError(model)  # a file outside the model's folder
    return provenance


def certificate_record(certificate: Certificate) -> dict[str, Any]:
    """Return the certificate with its relative errors, for JSON."""
    reference = certificate.reference
    fp64 = f"{reference} in fp32 with itself in fp64"
    fp16 = f"an FP16 cast of the graph, by ONNX Runtime on the CPU, with {reference}"
    return {
        "reference": reference,
        "compared": f"ONNX Runtime on the CPU with {reference}, fp32",
        "inputs": certificate.inputs,
        "tolerance": certificate.tolerance,
        "batches": [error_record(batch) for batch in certificate.batches],
        "fp64": certificate.fp64 and error_record(certificate.fp64, compared=fp64),
        "fp16": certificate.fp16 and error_record(certificate.fp16, compared=fp16),
    }


def error_record(error: BatchError, **compared: str) -> dict[str, Any]:
    """Return one comparison for JSON; numbers that are not finite become text."""
    relative = {"relative_error": error.relative_error, "relative_rms": error.relative_rms}
    figures = compared | dataclasses.asdict(error) | relative
    return {
        key: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in figures.items()
    }
