"""The ONNX file of a version: the release's ONNX Runtime must read it, and its tensors.

Source: onnxruntime_backend, `LoadModel` (src/onnxruntime.cc); the sentences are those of ONNX Runtime 1.19.2, of 24.09
to 24.11. Weights are not read, and nothing is run.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import onnx
from onnx import TensorProto

from generator.checker.rules.basics import INTERNAL, VARIABLE, Caution, Config, Refusal
from generator.checker.rules.folder import inside
from generator.checker.rules.tensors import ModelTensor
from generator.graph.datatypes import OF_ONNX
from generator.graph.header import HeaderUnreadable, OnnxHeader, read_header


class OnnxRuntime(NamedTuple):
    """The ONNX Runtime of the Triton releases since one: its version, newest ai.onnx opset and newest IR version."""

    since: str
    version: str
    opset: int
    ir_version: int


# Sources: server, build.py, by branch; each version was given a model with a newer opset and one with a newer IR
# version, and its refusal names the newest that it takes.
VERSIONS = (
    OnnxRuntime("24.03", "1.17", 20, 9),
    OnnxRuntime("24.05", "1.18", 21, 10),
    OnnxRuntime("24.08", "1.19", 21, 10),
    OnnxRuntime("24.12", "1.20", 21, 10),
    OnnxRuntime("25.03", "1.21", 22, 10),
    OnnxRuntime("25.05", "1.22", 22, 10),
    OnnxRuntime("25.08", "1.23", 23, 11),
    OnnxRuntime("26.02", "1.24", 25, 13),
    OnnxRuntime("26.07", "1.27", 26, 13),
)

SOURCE = "/onnxruntime_src/onnxruntime/core/graph"
MODEL = (
    f"{SOURCE}/model.cc:{{line}} onnxruntime::Model::Model(onnx::ModelProto&&, const PathString&, const "
    "IOnnxRuntimeOpSchemaRegistryList*, const onnxruntime::logging::Logger&, const onnxruntime::ModelOptions&) "
)
OPSET = (
    f"{SOURCE}/model_load_utils.h:46 void onnxruntime::model_load_utils::ValidateOpsetForDomain(const "
    "std::unordered_map<std::__cxx11::basic_string<char>, int>&, const onnxruntime::logging::Logger&, bool, const "
    "string&, int) ONNX Runtime only *guarantees* support for models stamped with official released onnx opset "
    "versions. Opset {opset} is under development and support for this is limited. The operator schemas and or other "
    "functionality may change before next ONNX release and in this case ONNX Runtime will not guarantee backward "
    "compatibility. Current official support for domain ai.onnx is till opset {newest}."
)
NO_OPSET = (
    "Missing opset in the model. All ModelProtos MUST have at least one entry that specifies which version of the ONNX "
    "OperatorSet is being imported."
)
NO_GRAPH = "ModelProto does not have a graph."
LFS = b"version https://git-lfs.github.com"
ONNX_DOMAINS = ("", "ai.onnx")
LARGEST_LOCATION = 4096
DATA_HELD_TO_FOLDER_SINCE = "26.02"  # ONNX Runtime 1.24 refuses what 1.19 reads (tried)


def onnx_runtime_of(release: str) -> OnnxRuntime:
    """Return the ONNX Runtime of a release; the first row for older releases."""
    return next((row for row in reversed(VERSIONS) if row.since <= release), VERSIONS[0])


def model_file(config: Config, folder: Path, version: str) -> Path:
    """Return the file that the backend opens; a folder of its name holds `model.onnx` (src/onnxruntime.cc:415)."""
    path = folder / version / str(config["default_model_filename"])
    if path.is_dir():
        path /= "model.onnx"
    if not path.exists():
        fix = f"put the model there, as {path.name}"
        raise Refusal(f"failed to stat file {path}", fix, ("default_model_filename",), INTERNAL)
    return path


@lru_cache(maxsize=4)
def kept_header(path: Path, _mtime_ns: int, _size_bytes: int) -> OnnxHeader:
    """Return the header, read once for all the configs of a model."""
    return read_header(path)


def unloadable(path: Path, code: int, why: str, fix: str) -> Refusal:
    """Return ONNX Runtime's refusal, as the backend writes it."""
    return Refusal(f"onnx runtime error {code}: Load model from {path} {why}", fix, status=INTERNAL)


def checked_header(path: Path, folder: Path, release: str) -> OnnxHeader:
    """Return the file without its weights; raise Refusal if the release's ONNX Runtime does not read it."""
    try:
        header = kept_header(path, path.stat().st_mtime_ns, path.stat().st_size)
    except HeaderUnreadable as error:
        fix = "it is a pointer of Git LFS: `git lfs pull`" if is_pointer(path) else "it is not a complete ONNX file"
        raise unloadable(path, 7, f"failed:Protobuf parsing failed. ({error})", fix) from error
    except OSError as error:
        raise unloadable(path, 7, f"failed:{error.strerror}", "make it readable") from error
    model, runtime = header.model, onnx_runtime_of(release)
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    opset = max((opsets[domain] for domain in ONNX_DOMAINS if domain in opsets), default=1)
    reads, ir = f"ONNX Runtime {runtime.version}, of Triton {release}, reads", model.ir_version
    too_new = f"Unsupported model IR version: {ir}, max supported IR version: {runtime.ir_version}"
    for refused, why, fix in (
        (not model.HasField("graph"), MODEL.format(line=165) + NO_GRAPH, "export it again"),
        (ir > runtime.ir_version, MODEL.format(line=180) + too_new, f"{reads} IR version {runtime.ir_version}"),
        (not opsets, MODEL.format(line=169) + NO_OPSET, "export it again"),
        (opset > runtime.opset, OPSET.format(opset=opset, newest=runtime.opset), f"{reads} opset {runtime.opset}"),
    ):
        if refused:
            raise unloadable(path, 1, f"failed:{why}", f"{fix}: export for it" if fix.startswith(reads) else fix)
    check_operators(path, model, opsets, opset)
    check_external(path, folder, header, release)
    return header


def is_pointer(path: Path) -> bool:
    """Return True if Git LFS left a pointer in a file's place."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(LFS)) == LFS


def check_operators(path: Path, model: onnx.ModelProto, opsets: Mapping[str, int], opset: int) -> None:
    """Check operators, domains, and that each tensor is computed (ONNX Runtime 1.19.2, core/graph/graph.cc)."""
    graph, own = model.graph, {(function.domain, function.name) for function in model.functions}
    made = {
        *(value.name for values in (graph.input, graph.initializer) for value in values),
        *(sparse.values.name for sparse in graph.sparse_initializer),
        *(name for node in graph.node for name in node.output),
    }
    for node in graph.node:
        of_onnx = node.domain in ONNX_DOMAINS
        if (node.domain, node.op_type) in own:
            continue
        if not of_onnx and node.domain not in opsets:
            raise invalid_node(path, graph, node, f"No opset import for domain '{node.domain}'")
        if of_onnx and not onnx.defs.has(node.op_type, domain="", max_inclusive_version=opset):
            why = f"No Op registered for {node.op_type} with domain_version of {opset}"
            raise invalid_node(path, graph, node, why)
        if missing := [name for name in node.input if name and name not in made]:
            why = f"Node input '{missing[0]}' is not a graph input, initializer, or output of a previous node."
            raise unloadable(path, 2, f"failed:Invalid model. {why}", "export the model again")


def invalid_node(path: Path, graph: onnx.GraphProto, node: onnx.NodeProto, why: str) -> Refusal:
    """Return ONNX Runtime's refusal of a node without an operator: its tensors as `"input": tensor(float)`."""
    types = {
        value.name: f": tensor({TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower()})"
        for value in (*graph.input, *graph.output, *graph.value_info)
    }
    inputs, outputs = ("".join(f'"{n}"{types.get(n, "")},' for n in names) for names in (node.input, node.output))
    return unloadable(
        path,
        10,
        f'failed:This is an invalid model. In Node, ("{node.name}", {node.op_type}, "{node.domain}", -1) : ({inputs}) '
        f"-> ({outputs}) , Error {why}",
        "use an operator of ONNX, or a domain that the model imports and the server has",
    )


def check_external(path: Path, folder: Path, header: OnnxHeader, release: str) -> None:
    """Check that external data are beside the file; a location elsewhere is not opened."""
    for location in header.external:
        if not stays(path, folder, location):
            if release >= DATA_HELD_TO_FOLDER_SINCE:
                why = f'failed:External data path: "{location[:80]}" escapes both model directory'
                raise unloadable(path, 1, why, "put the data beside the model")
        elif not (path.parent / location).is_file():
            raise Refusal(
                "onnx runtime error 6: Exception during initialization: filesystem error: cannot get file size: No "
                f"such file or directory [{path.parent / location}]",
                f"put {location} beside the model",
                status=INTERNAL,
            )


def stays(path: Path, folder: Path, location: str) -> bool:
    """Return True if the location of external data is inside the model's folder."""
    return len(location) <= LARGEST_LOCATION and "\0" not in location and inside(path.parent / location, folder)


def external_outside(path: Path, folder: Path, header: OnnxHeader) -> Iterator[Caution]:
    """Warn of external data outside the model's folder, which older releases read."""
    for location in header.external:
        if not stays(path, folder, location):
            yield Caution(
                f"{path.name} has data outside the model's folder, at {location[:80]!r}, which were not read",
                f"put the data beside the model: releases since {DATA_HELD_TO_FOLDER_SINCE} refuse it",
            )


def model_tensors(header: OnnxHeader) -> tuple[list[ModelTensor], list[ModelTensor]]:
    """Return the inputs without initializers, and the outputs as ONNX Runtime infers them; refuse what is no tensor."""
    graph = header.model.graph
    initialized = {tensor.name for tensor in graph.initializer}
    inputs = [model_tensor(value) for value in graph.input if value.name not in initialized]
    declared = [model_tensor(value) for value in graph.output]
    return inputs, [merged(value, inferred) for value, inferred in zip(declared, inferred_outputs(header), strict=True)]


def model_tensor(value: onnx.ValueInfoProto) -> ModelTensor:
    """Return a tensor as the backend sees it, -1 for an open dimension (src/onnxruntime_utils.cc:204)."""
    if not value.type.HasField("tensor_type"):
        kind = (value.type.WhichOneof("value") or "unknown").removesuffix("_type").upper()
        raise Refusal(
            f"Unsupported ONNX Type 'ONNX_TYPE_{kind}' for I/O '{value.name}', expected 'ONNX_TYPE_TENSOR'.",
            "Triton serves tensors only",
        )
    kind = value.type.tensor_type
    shape = tuple(dim.dim_value if dim.HasField("dim_value") else VARIABLE for dim in kind.shape.dim)
    return ModelTensor(value.name, OF_ONNX.get(kind.elem_type, "TYPE_INVALID"), shape, kind.HasField("shape"))


def inferred_outputs(header: OnnxHeader) -> list[ModelTensor]:
    """Return the outputs inferred from the graph: ONNX Runtime has the same rules, and loads no other shapes."""
    bare = onnx.ModelProto()
    bare.CopyFrom(header.model)
    for value in bare.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        return [model_tensor(value) for value in onnx.shape_inference.infer_shapes(bare).graph.output]
    except Exception:  # noqa: BLE001 (a graph that cannot be inferred keeps its declared outputs)
        return [model_tensor(value) for value in header.model.graph.output]


def merged(declared: ModelTensor, inferred: ModelTensor) -> ModelTensor:
    """Return the known size of each dimension; open if the two contradict each other, as in ONNX Runtime."""
    if not inferred.ranked or (declared.ranked and len(declared.shape) != len(inferred.shape)):
        return declared
    if not declared.ranked:
        return replace(declared, shape=inferred.shape, ranked=True)
    shape = tuple(
        a if b in (a, VARIABLE) else b if a == VARIABLE else VARIABLE
        for a, b in zip(declared.shape, inferred.shape, strict=True)
    )
    return replace(declared, shape=shape)
