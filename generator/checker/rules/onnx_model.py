"""The ONNX file of a version: whether it is there, whether the release's ONNX Runtime reads it, and its tensors.

Source: onnxruntime_backend, `LoadModel` (src/onnxruntime.cc); the sentences are those of ONNX Runtime 1.19.2, of 24.09
to 24.11. Weights are not read, and nothing is run.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import onnx
from onnx import TensorProto

from generator.checker.rules.onnxruntime_versions import onnx_runtime_of
from generator.checker.rules.outcomes import Hurts, Refused
from generator.checker.rules.paths import inside
from generator.checker.rules.tensors_match import ModelTensor
from generator.graph.datatypes import OF_ONNX
from generator.graph.header import HeaderUnreadable, read_header

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from generator.graph.header import OnnxHeader

    Config = Mapping[str, Any]

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
VARIABLE = -1
LFS = b"version https://git-lfs.github.com"
ONNX_DOMAINS = ("", "ai.onnx")
LARGEST_LOCATION = 4096
DATA_HELD_TO_FOLDER_SINCE = "26.02"  # ONNX Runtime 1.24, tried: it refuses what 1.19 reads


def model_file(config: Config, folder: Path, version: str) -> Path:
    """The file that the backend opens; a folder of its name holds a file of its name.

    Source: onnxruntime_backend, src/onnxruntime.cc:415.

    Raises:
        Refused: it is not there.
    """
    path = folder / version / str(config["default_model_filename"])
    if path.is_dir():
        path /= "model.onnx"
    if not path.exists():
        raise Refused(
            f"failed to stat file {path}",
            f"put the model there, as {path.name}",
            ("default_model_filename",),
            "Internal",
        )
    return path


@lru_cache(maxsize=4)
def kept_header(path: Path, _mtime_ns: int, _size_bytes: int) -> OnnxHeader:
    """The header, read once for all the configs of a model."""
    return read_header(path)


def header_of(path: Path, folder: Path, release: str) -> OnnxHeader:
    """What the file says beside its weights.

    Source: ONNX Runtime 1.19.2, core/graph/model.cc.

    Raises:
        Refused: the release's ONNX Runtime does not read it.
    """
    try:
        header = kept_header(path, path.stat().st_mtime_ns, path.stat().st_size)
    except HeaderUnreadable as error:
        why = f"failed:Protobuf parsing failed. ({error})"
        fix = (
            "it is a pointer of Git LFS: `git lfs pull`"
            if is_pointer(path)
            else "it is no ONNX file, or only a part of one"
        )
        raise unloadable(path, 7, why, fix) from error
    except OSError as error:
        raise unloadable(path, 7, f"failed:{error.strerror}", "make it readable") from error
    model = header.model
    if not model.HasField("graph"):
        raise unloadable(
            path, 1, "failed:" + MODEL.format(line=165) + "ModelProto does not have a graph.", "export it again"
        )
    runtime = onnx_runtime_of(release)
    if model.ir_version > runtime.ir_version:
        why = f"Unsupported model IR version: {model.ir_version}, max supported IR version: {runtime.ir_version}"
        fix = (
            f"ONNX Runtime {runtime.version}, of Triton {release}, reads IR version {runtime.ir_version}: export for it"
        )
        raise unloadable(path, 1, "failed:" + MODEL.format(line=180) + why, fix)
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    if not opsets:
        raise unloadable(path, 1, "failed:" + MODEL.format(line=169) + NO_OPSET, "export it again")
    opset = max((opsets[domain] for domain in ONNX_DOMAINS if domain in opsets), default=0)
    if opset > runtime.opset:
        fix = f"ONNX Runtime {runtime.version}, of Triton {release}, takes opset {runtime.opset}: export for it"
        raise unloadable(path, 1, "failed:" + OPSET.format(opset=opset, newest=runtime.opset), fix)
    check_operators(path, model, opsets)
    check_external(path, folder, header, release)
    return header


def is_pointer(path: Path) -> bool:
    """Whether it is what Git LFS leaves in a file's place."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(LFS)) == LFS


def check_operators(path: Path, model: onnx.ModelProto, opsets: Mapping[str, int]) -> None:
    """ONNX's own operators are there at the opset; every domain is imported, every tensor is made.

    Source: ONNX Runtime 1.19.2, core/graph/graph.cc.
    """
    own = {(function.domain, function.name) for function in model.functions}
    opset = max((opsets[domain] for domain in ONNX_DOMAINS if domain in opsets), default=1)
    made = names_made(model.graph)
    for node in model.graph.node:
        onnxs = node.domain in ONNX_DOMAINS
        if (node.domain, node.op_type) in own:
            continue
        if not onnxs and node.domain not in opsets:
            raise invalid_node(path, model.graph, node, f"No opset import for domain '{node.domain}'")
        if onnxs and not onnx.defs.has(node.op_type, domain="", max_inclusive_version=opset):
            why = f"No Op registered for {node.op_type} with domain_version of {opset}"
            raise invalid_node(path, model.graph, node, why)
        for name in node.input:
            if name and name not in made:
                raise unloadable(
                    path,
                    2,
                    f"failed:Invalid model. Node input '{name}' is not a graph input, initializer, or output of a "
                    "previous node.",
                    "export the model again",
                )


def names_made(graph: onnx.GraphProto) -> set[str]:
    """The tensors that are given or computed."""
    return {
        *(value.name for value in graph.input),
        *(value.name for value in graph.initializer),
        *(sparse.values.name for sparse in graph.sparse_initializer),
        *(name for node in graph.node for name in node.output),
    }


def invalid_node(path: Path, graph: onnx.GraphProto, node: onnx.NodeProto, why: str) -> Refused:
    """ONNX Runtime's words for a node that it has no operator for."""
    types = types_of(graph)
    inputs, outputs = ("".join(f"{described(name, types)}," for name in names) for names in (node.input, node.output))
    return unloadable(
        path,
        10,
        f'failed:This is an invalid model. In Node, ("{node.name}", {node.op_type}, "{node.domain}", -1) : ({inputs}) '
        f"-> ({outputs}) , Error {why}",
        "an operator of ONNX, or a domain that the model imports and the server has",
    )


def types_of(graph: onnx.GraphProto) -> dict[str, str]:
    """The element type of each tensor that the graph declares, in ONNX's words."""
    return {
        value.name: TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower()
        for value in (*graph.input, *graph.output, *graph.value_info)
    }


def described(name: str, types: Mapping[str, str]) -> str:
    """`"input": tensor(float)`."""
    return f'"{name}": tensor({types[name]})' if name in types else f'"{name}"'


def check_external(path: Path, folder: Path, header: OnnxHeader, release: str) -> None:
    """Data are beside the file; what is said to be elsewhere is not looked at."""
    for location in header.external:
        if not stays(path, folder, location):
            if release >= DATA_HELD_TO_FOLDER_SINCE:
                why = f'failed:External data path: "{location[:80]}" escapes both model directory'
                raise unloadable(path, 1, why, "put the data beside the model")
        elif not (path.parent / location).is_file():
            raise Refused(
                "onnx runtime error 6: Exception during initialization: filesystem error: cannot get file size: No "
                f"such file or directory [{path.parent / location}]",
                f"put {location} beside the model",
                status="Internal",
            )


def stays(path: Path, folder: Path, location: str) -> bool:
    """Whether the location of external data is inside the model's folder."""
    return len(location) <= LARGEST_LOCATION and "\0" not in location and inside(path.parent / location, folder)


def data_elsewhere(path: Path, folder: Path, header: OnnxHeader) -> Iterator[Hurts]:
    """Releases before that read it; newer ones do not."""
    for location in header.external:
        if not stays(path, folder, location):
            yield Hurts(
                f"{path.name} has data outside the model's folder, at {location[:80]!r}, which were not looked at",
                f"put them beside the model: releases since {DATA_HELD_TO_FOLDER_SINCE} refuse it",
            )


def unloadable(path: Path, code: int, why: str, fix: str) -> Refused:
    """ONNX Runtime's refusal, as the backend writes it."""
    return Refused(f"onnx runtime error {code}: Load model from {path} {why}", fix, status="Internal")


def tensors_of(header: OnnxHeader) -> tuple[list[ModelTensor], list[ModelTensor]]:
    """The graph's inputs, without those that have a value of their own, and its outputs as ONNX Runtime infers them.

    Raises:
        Refused: one is no tensor.
    """
    graph = header.model.graph
    given = {tensor.name for tensor in graph.initializer}
    inputs = [tensor(value) for value in graph.input if value.name not in given]
    declared = [tensor(value) for value in graph.output]
    return inputs, [merged(value, inferred) for value, inferred in zip(declared, inferred_outputs(header), strict=True)]


def tensor(value: onnx.ValueInfoProto) -> ModelTensor:
    """As the backend sees it: -1 where a dimension is open.

    Source: onnxruntime_backend, src/onnxruntime_utils.cc:204.
    """
    if not value.type.HasField("tensor_type"):
        kind = (value.type.WhichOneof("value") or "unknown").removesuffix("_type").upper()
        raise Refused(
            f"Unsupported ONNX Type 'ONNX_TYPE_{kind}' for I/O '{value.name}', expected 'ONNX_TYPE_TENSOR'.",
            "Triton serves tensors only",
        )
    kind = value.type.tensor_type
    shape = tuple(dim.dim_value if dim.HasField("dim_value") else VARIABLE for dim in kind.shape.dim)
    return ModelTensor(value.name, OF_ONNX.get(kind.elem_type, "TYPE_INVALID"), shape, kind.HasField("shape"))


def inferred_outputs(header: OnnxHeader) -> list[ModelTensor]:
    """What follows from the graph: ONNX Runtime has the same rules, and computes no shapes when it loads one."""
    bare = onnx.ModelProto()
    bare.CopyFrom(header.model)
    for value in bare.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        return [tensor(value) for value in onnx.shape_inference.infer_shapes(bare).graph.output]
    except Exception:  # noqa: BLE001 (a graph that cannot be inferred says what it declares)
        return [tensor(value) for value in header.model.graph.output]


def merged(declared: ModelTensor, inferred: ModelTensor) -> ModelTensor:
    """The known one of each dimension; open where the two contradict each other, as ONNX Runtime has it."""
    if not inferred.ranked or (declared.ranked and len(declared.shape) != len(inferred.shape)):
        return declared
    if not declared.ranked:
        return replace(declared, shape=inferred.shape, ranked=True)
    shape = tuple(
        a if b in (a, VARIABLE) else b if a == VARIABLE else VARIABLE
        for a, b in zip(declared.shape, inferred.shape, strict=True)
    )
    return replace(declared, shape=shape)
