"""A weights file as tensors by name, in any of the formats that people have; nothing in the file is executed.

The first bytes of a file tell its format, not its suffix. The file is read into memory once: the bytes that are checked
are the bytes that are loaded and hashed.
"""

import stat
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import safetensors.torch
import torch

from generator.errors import WeightsUnusable, quoted
from generator.weights import paddle_pickle
from generator.weights.pickle_scan import Refused
from generator.weights.torch_file import MAGIC, TORCH_HINT, torch_legacy, torch_zip

LARGEST_FILE_BYTES = 2 << 30  # the largest network needs 0.35 GB
LARGEST_HEADER_BYTES = 8 << 20  # of safetensors; the largest network needs 0.2 MB
WRAPPERS = ("state_dict", "model")
NAME_TABLE = "StructuredToParameterName@@"  # Paddle's second names for the parameters
PARALLEL = "module."
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.uint16, torch.bool)


def content(path: Path) -> bytes:
    """Return the bytes of a file; raise WeightsUnusable if it cannot be read, or is too large."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise WeightsUnusable(path, "it is a folder")
        if not stat.S_ISREG(status.st_mode):
            raise WeightsUnusable(path, "it is a device or a pipe, not a file")
        if status.st_size > LARGEST_FILE_BYTES:
            raise WeightsUnusable(path, f"it has {status.st_size / 1e9:.1f} GB; the largest network needs 0.4 GB")
        data = path.read_bytes()
    except OSError as error:
        raise WeightsUnusable(path, (error.strerror or str(error)).lower()) from error
    if not data:
        raise WeightsUnusable(path, "it is empty")
    return data


def parse(path: Path, data: bytes) -> tuple[str, dict[str, torch.Tensor]]:
    """Return the format's name and the tensors, floats as fp32; raise WeightsUnusable for anything but tensors."""
    try:
        container = recognise(data)
        return container.name, plain(unwrapped(container.load(data)), len(data))
    except Refused as refused:
        raise WeightsUnusable(path, refused.why, refused.hint) from refused
    # torch, safetensors, zipfile and pickle raise any error of their parsers, RecursionError and MemoryError included.
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise WeightsUnusable(path, f"it is damaged: {quoted(reason)}", "download or save it again") from error


class Container(NamedTuple):
    """A file format: how its files begin, and how to load the contents, which are checked later."""

    name: str
    begins: Callable[[bytes], bool]
    load: Callable[[bytes], object]


def recognise(data: bytes) -> Container:
    """Return the format of the data; raise Refused if it is unknown."""
    for container in CONTAINERS:
        if container.begins(data):
            return container
    if data[:100].lstrip().startswith(b"<"):
        raise Refused("it is a web page, probably of a failed download", "download it again")
    if data.startswith(b"version https://git-lfs"):
        raise Refused("it is a git-lfs pointer, not the file", "fetch the file with `git lfs pull`")
    raise Refused(
        "its format is not torch's, safetensors' or Paddle's", "use a .pth, .pt, .bin, .safetensors or .pdparams file"
    )


def load_safetensors(data: bytes) -> object:
    """Load a safetensors file; raise Refused if its header is longer than names of tensors need."""
    header = int.from_bytes(data[:8], "little")
    if header > min(LARGEST_HEADER_BYTES, len(data) - 8):
        raise Refused(f"its header claims {header} bytes, and the file has {len(data)}")
    return dict(sorted(safetensors.torch.load(data).items()))  # safetensors returns them in varying order


CONTAINERS = (
    Container("torch zip", lambda data: data.startswith(b"PK\x03\x04"), torch_zip),
    Container("torch legacy", lambda data: data.startswith(MAGIC), torch_legacy),
    # The length of the header in 8 bytes, the upper four of them zero, then JSON.
    Container("safetensors", lambda data: data[4:9] == b"\0\0\0\0{", load_safetensors),
    Container("Paddle pickle", lambda data: data.startswith(b"\x80"), paddle_pickle.read),
)


def unwrapped(held: object) -> dict[str, object]:
    """Return the entries that may be tensors, by name; raise Refused if there is no dict, or a key is no string."""
    if not isinstance(held, dict):
        raise Refused(f"it holds a value of type {type(held).__name__}, not a dict of tensors", TORCH_HINT)
    wrapped = [held[wrapper] for wrapper in WRAPPERS if isinstance(held.get(wrapper), dict)]
    entries: dict[object, object] = wrapped[0] if len(wrapped) == 1 else held
    for key in entries:
        if not isinstance(key, str):
            raise Refused(f"it has a key of type {type(key).__name__}, not a string", TORCH_HINT)
    named = {str(key): value for key, value in entries.items() if key != NAME_TABLE}
    if not named:
        raise Refused("it holds no tensors")
    # Training on several GPUs saves the network inside of torch's DataParallel, as its `module`.
    if all(key.startswith(PARALLEL) for key in named):
        return {key.removeprefix(PARALLEL): value for key, value in named.items()}
    return named


def plain(entries: dict[str, object], file_bytes: int) -> dict[str, torch.Tensor]:
    """Return the entries as dense tensors in memory of their own; raise Refused if one is something else."""
    tensors = {key: tensor(key, value) for key, value in entries.items()}
    # A stride of 0 makes a tensor of any size from one number.
    if sum(value.numel() * value.element_size() for value in tensors.values()) > file_bytes:
        raise Refused("its tensors are larger than the file, so they overlap")
    return {
        key: value.to(torch.float32 if value.is_floating_point() else value.dtype).contiguous()
        for key, value in tensors.items()
    }


def tensor(key: str, value: object) -> torch.Tensor:
    """Return an entry as a tensor of floats or integers; raise Refused if it is something else."""
    if isinstance(value, paddle_pickle.Array):
        try:
            return torch.from_numpy(paddle_pickle.array(value))
        except Refused as refused:
            raise Refused(f"its {quoted(key)} {refused.why}", refused.hint) from refused
    if not isinstance(value, torch.Tensor):
        raise Refused(f"its {quoted(key)} is of type {type(value).__name__}, not a tensor", TORCH_HINT)
    if value.is_meta:
        raise Refused(f"its {quoted(key)} has no values", TORCH_HINT)
    kind_is_plain = type(value) in {torch.Tensor, torch.nn.Parameter} and value.layout == torch.strided
    if not kind_is_plain or value.device.type != "cpu" or value.is_quantized or value.is_neg():
        raise Refused(f"its {quoted(key)} is not a plain tensor", TORCH_HINT)
    if value.dtype not in FLOATS + INTEGERS:
        raise Refused(f"its {quoted(key)} holds {dtype_name(value)} values")
    return value.detach()


def dtype_name(value: torch.Tensor) -> str:
    """Return torch's name for the type, such as `float32`."""
    return str(value.dtype).removeprefix("torch.")
