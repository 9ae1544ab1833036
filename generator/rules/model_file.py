"""The ONNX file of a version: whether it is there, whether the release's ONNX Runtime reads it, and its tensors.

Source: onnxruntime_backend, `LoadModel` (src/onnxruntime.cc); the sentences are those of ONNX Runtime 1.19.2, of 24.09
to 24.11. Weights are not read, and nothing is run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx
from onnx import TensorProto

from generator.datatypes import OF_ONNX
from generator.onnx_header import HeaderUnreadable, read_header
from generator.rules.labels import inside
from generator.rules.onnx_io import ModelTensor
from generator.rules.refused import Hurts, Refused
from generator.rules.releases import onnx_runtime_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from generator.onnx_header import OnnxHeader

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
ONNX_DOMAINS = ("", "ai.onnx")
LARGEST_LOCATION = 4096
DATA_HELD_TO_FOLDER_SINCE = "26.02"  # ONNX Runtime 1.24, tried: it refuses what 1.19 reads


def model_file(config: Config, folder: Path, version: str) -> Path:
    """The file that the backend opens; a folder of its name holds a file of its name.

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


def header_of(path: Path, folder: Path, release: str) -> OnnxHeader:
    """What the file says beside its weights.

    Raises:
        Refused: the release's ONNX Runtime does not read it.
    """
    try:
        header = read_header(path)
    except (HeaderUnreadable, OSError) as error:
        why = f"failed:Protobuf parsing failed. ({error})"
        raise unloadable(path, 7, why, "it is no ONNX file, or only a part of one") from error
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
    opset = max((opsets[domain] for domain in ONNX_DOMAINS if domain in opsets), default=0)
    if opset > runtime.opset:
        fix = f"ONNX Runtime {runtime.version}, of Triton {release}, takes opset {runtime.opset}: export for it"
        raise unloadable(path, 1, "failed:" + OPSET.format(opset=opset, newest=runtime.opset), fix)
    check_operators(path, model, opsets)
    check_external(path, folder, header, release)
    return header


def check_operators(path: Path, model: onnx.ModelProto, opsets: Mapping[str, int]) -> None:
    """Every operator of ONNX's own domain is one of its operators; other domains are the server's affair."""
    own = {(function.domain, function.name) for function in model.functions}
    for node in model.graph.node:
        if node.domain not in ONNX_DOMAINS or (node.domain, node.op_type) in own:
            continue
        opset = max((opsets[domain] for domain in ONNX_DOMAINS if domain in opsets), default=1)
        if not onnx.defs.has(node.op_type, domain="", max_inclusive_version=opset):
            types = types_of(model.graph)
            inputs, outputs = (
                ", ".join(described(name, types) for name in names) for names in (node.input, node.output)
            )
            raise unloadable(
                path,
                10,
                f'failed:This is an invalid model. In Node, ("{node.name}", {node.op_type}, "{node.domain}", -1) : '
                f"({inputs},) -> ({outputs},) , Error No Op registered for {node.op_type} with domain_version of "
                f"{opset}",
                f"ONNX has no operator {node.op_type} at opset {opset}",
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
    """The graph's inputs, without those that have a value of their own, and its outputs.

    Raises:
        Refused: one is no tensor.
    """
    graph = header.model.graph
    given = {tensor.name for tensor in graph.initializer}
    return tensors(value for value in graph.input if value.name not in given), tensors(graph.output)


def tensors(values: Iterable[onnx.ValueInfoProto]) -> list[ModelTensor]:
    """As the backend sees them: -1 where a dimension is open."""
    made = []
    for value in values:
        if not value.type.HasField("tensor_type"):
            kind = (value.type.WhichOneof("value") or "unknown").removesuffix("_type").upper()
            raise Refused(
                f"Unsupported ONNX Type 'ONNX_TYPE_{kind}' for I/O '{value.name}', expected 'ONNX_TYPE_TENSOR'.",
                "Triton serves tensors only",
                status="Invalid argument",
            )
        tensor = value.type.tensor_type
        shape = tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in tensor.shape.dim)
        ranked = tensor.HasField("shape")
        made.append(ModelTensor(value.name, OF_ONNX.get(tensor.elem_type, "TYPE_INVALID"), shape, ranked))
    return made
