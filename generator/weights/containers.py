"""A weights file as tensors by name, whatever wrote it; nothing in it is executed.

A file is told by what it begins with, not by its suffix. It is read into memory once: what was checked is what is
loaded, and what the digest is of.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

import safetensors.torch
import torch

from generator.errors import WeightsUnusable, quoted
from generator.weights import paddle_pickle
from generator.weights.pickle_scan import Refused
from generator.weights.torch_file import MAGIC, TORCH_HINT, torch_legacy, torch_zip

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LARGEST_FILE_BYTES = 2 << 30  # the largest network takes 0.35 GB
LARGEST_HEADER_BYTES = 8 << 20  # of safetensors; the largest network's has 0.2 MB
WRAPPERS = ("state_dict", "model")
NAME_TABLE = "StructuredToParameterName@@"  # Paddle's second names of the parameters, beside them
PARALLEL = "module."
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.uint16, torch.bool)


def read(path: Path) -> tuple[str, dict[str, torch.Tensor]]:
    """The kind of container that a file is, and its tensors: fp32 in place of all floats.

    Raises:
        WeightsUnusable: it cannot be read, or holds anything else than tensors.
    """
    return parse(path, content(path))


def content(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        WeightsUnusable: it cannot be read, or is too large.
    """
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise WeightsUnusable(path, "it is a folder")
        if not stat.S_ISREG(status.st_mode):
            raise WeightsUnusable(path, "it is no file but a device or a pipe")
        if status.st_size > LARGEST_FILE_BYTES:
            raise WeightsUnusable(path, f"it has {status.st_size / 1e9:.1f} GB, and no network here takes 0.4")
        data = path.read_bytes()
    except OSError as error:
        raise WeightsUnusable(path, (error.strerror or str(error)).lower()) from error
    if not data:
        raise WeightsUnusable(path, "it is empty")
    return data


def parse(path: Path, data: bytes) -> tuple[str, dict[str, torch.Tensor]]:
    """What `read` gives, of the bytes of the file at `path`.

    Raises:
        WeightsUnusable: they hold anything else than tensors.
    """
    try:
        container = recognise(data)
        return container.name, plain(unwrapped(container.load(data)), len(data))
    except Refused as refused:
        raise WeightsUnusable(path, refused.why, refused.hint) from refused
    # torch, safetensors, zipfile and pickle raise whatever their parsers do, RecursionError and MemoryError included.
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise WeightsUnusable(path, f"it is damaged: {quoted(reason)}", "fetch or save it again") from error


@dataclass(frozen=True)
class Container:
    """A way to keep tensors in a file: how such a file begins, and what it holds, not yet looked at."""

    name: str
    begins: Callable[[bytes], bool]
    load: Callable[[bytes], object]


def recognise(data: bytes) -> Container:
    """The container that the data is.

    Raises:
        Refused: it is none.
    """
    for container in CONTAINERS:
        if container.begins(data):
            return container
    if data[:100].lstrip().startswith(b"<"):
        raise Refused("it is a web page, as a download that failed leaves it", "fetch it again")
    if data.startswith(b"version https://git-lfs"):
        raise Refused("it is a pointer of git-lfs to the file", "`git lfs pull` fetches the file itself")
    raise Refused("it is neither torch's, safetensors' nor Paddle's", "such a file ends in .pth, .bin, .safetensors …")


def begins_safetensors(data: bytes) -> bool:
    """The length of the header, 8 bytes of which the upper are zero, then JSON."""
    return data[4:9] == b"\0\0\0\0{"


def load_safetensors(data: bytes) -> object:
    """What safetensors makes of its file.

    Raises:
        Refused: its header is longer than the names of tensors make it.
    """
    header = int.from_bytes(data[:8], "little")
    if header > min(LARGEST_HEADER_BYTES, len(data) - 8):
        raise Refused(f"its header has {header} bytes, and the file {len(data)}")
    # Sorted, for safetensors gives them in an order that changes.
    return dict(sorted(safetensors.torch.load(data).items()))


CONTAINERS = (
    Container("torch zip", lambda data: data.startswith(b"PK\x03\x04"), torch_zip),
    Container("torch legacy", lambda data: data.startswith(MAGIC), torch_legacy),
    Container("safetensors", begins_safetensors, load_safetensors),
    Container("Paddle pickle", lambda data: data.startswith(b"\x80"), paddle_pickle.read),
)


def unwrapped(held: object) -> dict[str, object]:
    """The tensors among what a file holds, by name.

    Raises:
        Refused: it holds no dict, or a key that is no name.
    """
    if not isinstance(held, dict):
        raise Refused(f"it holds a value of type {type(held).__name__}, not tensors by name", TORCH_HINT)
    wrapped = [held[wrapper] for wrapper in WRAPPERS if isinstance(held.get(wrapper), dict)]
    entries: dict[object, object] = wrapped[0] if len(wrapped) == 1 else held
    for key in entries:
        if not isinstance(key, str):
            raise Refused(f"it has a key of type {type(key).__name__}, not a name", TORCH_HINT)
    named = {str(key): value for key, value in entries.items() if key != NAME_TABLE}
    if not named:
        raise Refused("it holds no tensors")
    # A script that trains on several GPUs saves the network inside of torch's DataParallel, as its `module`.
    if all(key.startswith(PARALLEL) for key in named):
        return {key.removeprefix(PARALLEL): value for key, value in named.items()}
    return named


def plain(entries: dict[str, object], file_bytes: int) -> dict[str, torch.Tensor]:
    """The entries as dense tensors in memory of their own.

    Raises:
        Refused: one is something else.
    """
    tensors = {key: tensor(key, value) for key, value in entries.items()}
    # Strides of 0 make a tensor of any size out of one number.
    if sum(value.numel() * value.element_size() for value in tensors.values()) > file_bytes:
        raise Refused("its tensors are larger than the file, so they overlap")
    return {
        key: value.to(torch.float32 if value.is_floating_point() else value.dtype).contiguous()
        for key, value in tensors.items()
    }


def tensor(key: str, value: object) -> torch.Tensor:
    """An entry as a tensor, if it is one of floats or integers.

    Raises:
        Refused: it is something else.
    """
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
    """`float32`."""
    return str(value.dtype).removeprefix("torch.")
