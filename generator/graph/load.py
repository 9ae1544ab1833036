"""Read a user's ONNX file as the graph that will be served: external data checked, old opset, fixed dims."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import onnx
from google.protobuf.message import DecodeError
from onnx.external_data_helper import load_external_data_for_tensor

from generator.errors import BadValue, OnnxUnreadable, first_line, quoted
from generator.graph.header import data_place, external_tensors, tensors
from generator.graph.types import Exported

# A protobuf message is smaller than 2 GiB; the external data of a larger model stay in their files.
IN_MEMORY_BYTES = 1_900_000_000
MODEL_FILE = "model.onnx"  # the name that Triton gives a graph
PLACE = ("offset", "length")  # of a tensor's data in their file, in bytes
# The newest that ONNX Runtime 1.18 reads; it is part of Triton 24.05, the oldest release that the targets allow.
NEWEST_OPSET, NEWEST_IR = 21, 10
OLDEST_IR = 8  # since version 4 initializers are constants, not inputs with a default


def read(path: Path, dims: Mapping[str, tuple[int, ...]]) -> Exported:
    """Read a graph, and its external data unless they are too large; `dims` are shapes of inputs with open dims.

    Raises:
        OnnxUnreadable: not an ONNX model, external data outside its folder or truncated, or too new for Triton.
        BadValue: `dims` do not fit its inputs.
    """
    model = parse(path)
    sidecars = external_files(model, path)
    if path.stat().st_size + sum(file.stat().st_size for file in sidecars.values()) <= IN_MEMORY_BYTES:
        embed(model, path, sidecars)
        sidecars = {}
    for location in sidecars:
        if PurePosixPath(location).parts[0] == MODEL_FILE:
            why = f"its data are in {quoted(location)}, and the graph is to have that name"
            raise OnnxUnreadable(path, why, "save the data under another name")
    lower_versions(model, path)
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    del model.graph.input[:]  # old files list their weights as inputs with a default
    model.graph.input.extend(inputs)
    for name, shape in dims.items():
        fix_dims(model, name, shape)
    return Exported(model, "none: given as ONNX", sidecars)


def parse(path: Path) -> onnx.ModelProto:
    """Read the graph without its external data."""
    try:
        model: onnx.ModelProto = onnx.load(str(path), load_external_data=False)
    except FileNotFoundError as error:
        raise OnnxUnreadable(path, "there is no such file") from error
    except IsADirectoryError as error:
        raise OnnxUnreadable(path, "it is a folder") from error
    except OSError as error:
        raise OnnxUnreadable(path, (error.strerror or str(error)).lower()) from error
    except DecodeError as error:
        raise OnnxUnreadable(path, "it is not a protobuf of a model, or it is cut short") from error
    if not model.graph.node or not model.graph.output or not model.opset_import:
        raise OnnxUnreadable(path, "it holds no graph")
    return model


def external_files(model: onnx.ModelProto, path: Path) -> dict[str, Path]:
    """Return the files of external data by location; check that each is inside the model's folder and long enough.

    The model and its data may be links into one folder, as in the cache of the Hugging Face hub.
    """
    folders = path.parent.resolve(), path.resolve().parent
    files: dict[str, Path] = {}
    for tensor in external_tensors(model):
        name = quoted(tensor.name)
        entries = data_place(tensor)
        location = entries.get("location", "")
        pure = PurePosixPath(location)
        try:
            target = (path.parent / location).resolve()
            exists = target.is_file() and target != path.resolve()
        except (OSError, RuntimeError, ValueError):  # a name that is too long, a loop of links, a zero byte
            target, exists = path.resolve(), False
        outside = pure.is_absolute() or ".." in pure.parts or not any(map(target.is_relative_to, folders))
        if not location or outside:
            raise OnnxUnreadable(path, f"the data of {name} lie outside its folder, at {quoted(location)}")
        if not exists:
            raise OnnxUnreadable(path, f"there is no file {quoted(location)} with the data of {name}")
        if not all(value.isascii() and value.isdecimal() for key, value in entries.items() if key in PLACE):
            raise OnnxUnreadable(path, f"the place of the data of {name} is no number from 0")
        begin, length = (int(entries.get(key, 0)) for key in PLACE)
        if begin + length > target.stat().st_size:
            raise OnnxUnreadable(path, f"{quoted(location)} is too short for the data of {name}")
        files[location] = target
    return files


def embed(model: onnx.ModelProto, path: Path, files: Mapping[str, Path]) -> None:
    """Read the external data into the graph; raise OnnxUnreadable if they cannot be read."""
    for tensor in external_tensors(model):
        target = files[data_place(tensor)["location"]]
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = target.name
        try:
            load_external_data_for_tensor(tensor, str(target.parent))
        except Exception as error:
            why = f"the data of {quoted(tensor.name)} cannot be read: {first_line(error)}"
            raise OnnxUnreadable(path, why) from error
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]


def uses_fp16(model: onnx.ModelProto) -> bool:
    """Check for FP16 inputs and constants."""
    inputs = {value.type.tensor_type.elem_type for value in model.graph.input}
    return onnx.TensorProto.FLOAT16 in inputs | {tensor.data_type for tensor in tensors(model)}


def lower_versions(model: onnx.ModelProto, path: Path) -> None:
    """Lower the opset and the IR version to those that every release reads; raise OnnxUnreadable if impossible."""
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), NEWEST_OPSET)
    if opset > NEWEST_OPSET:
        try:
            model.CopyFrom(onnx.version_converter.convert_version(model, NEWEST_OPSET))
        except Exception as error:
            raise OnnxUnreadable(
                path,
                f"its opset {opset} is newer than the {NEWEST_OPSET} that Triton 24.05 reads, and cannot be converted",
                f"export it with opset {NEWEST_OPSET}",
            ) from error
    model.ir_version = min(max(model.ir_version, OLDEST_IR), NEWEST_IR)


def fix_dims(model: onnx.ModelProto, name: str, shape: Sequence[int]) -> None:
    """Set the open dims of an input; a shape with one dimension less omits the batch."""
    names = [value.name for value in model.graph.input]
    given = "x".join(map(str, shape))
    if name == "" and len(names) == 1:
        name = names[0]
    if name not in names:
        raise BadValue("inputs", name or given, f"the inputs are {', '.join(names)}", "write NAME:DIMS")
    declared = model.graph.input[names.index(name)].type.tensor_type.shape.dim
    wanted = [None] * (len(declared) - len(shape)) + list(shape)
    if not len(declared) - 1 <= len(shape) <= len(declared):
        raise BadValue("inputs", f"{name}:{given}", f"{name!r} has {len(declared)} dimensions")
    for place, (dim, size) in enumerate(zip(declared, wanted, strict=True)):
        if size is None:
            continue
        if dim.HasField("dim_value") and dim.dim_value != size:
            raise BadValue("inputs", f"{name}:{given}", f"dimension {place} of {name!r} is {dim.dim_value} in the file")
        dim.dim_value = size
