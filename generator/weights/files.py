"""A weights file as tensors by name, whatever wrote it; nothing in it is executed.

A file is told by what it begins with, not by its suffix. It is read into memory once: what was checked is what is
loaded, and what the digest is of.
"""

from __future__ import annotations

import io
import pickle
import stat
import warnings
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import safetensors.torch
import torch

from generator.errors import WeightsUnusable, quoted
from generator.weights import paddle_pickle
from generator.weights.paddle_pickle import ORDERED_DICT, Permit, Refused, Rules, Thing, walk

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LARGEST_FILE_BYTES = 2 << 30  # the largest network takes 0.35 GB
MOST_RECORDS = 20_000  # a tensor a record
LARGEST_HEADER_BYTES = 8 << 20  # of safetensors; the largest network's has 0.2 MB
WRAPPERS = ("state_dict", "model")
NAME_TABLE = "StructuredToParameterName@@"  # Paddle's second names of the parameters, beside them
PARALLEL = "module."
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.uint16, torch.bool)
TORCH_HINT = 'save tensors only: torch.save(model.state_dict(), "weights.pth")'

# fmt: off
STORAGE_BYTES = {
    "torch.FloatStorage": 4, "torch.HalfStorage": 2, "torch.BFloat16Storage": 2, "torch.DoubleStorage": 8,
    "torch.LongStorage": 8, "torch.IntStorage": 4, "torch.ShortStorage": 2, "torch.CharStorage": 1,
    "torch.ByteStorage": 1, "torch.BoolStorage": 1,
    "torch.ComplexFloatStorage": 8, "torch.ComplexDoubleStorage": 16,
}
# fmt: on
TORCH_RULES = Rules(
    permits={
        ORDERED_DICT: Permit(called=True, built=True),
        "torch._utils._rebuild_tensor": Permit(called=True, shared=True),
        "torch._utils._rebuild_tensor_v2": Permit(called=True, shared=True),
        "torch._utils._rebuild_parameter": Permit(called=True, shared=True),
        **dict.fromkeys(STORAGE_BYTES, Permit()),
    },
    unsuited={
        "torch._utils._rebuild_sparse_tensor": "a sparse tensor",
        "torch._utils._rebuild_qtensor": "a quantized tensor",
        "torch._utils._rebuild_nested_tensor": "a nested tensor",
        "torch._utils._rebuild_meta_tensor_no_storage": "a tensor without values",
        "torch._utils._rebuild_wrapper_subclass": "a tensor of a class of its own",
        "torch._tensor._rebuild_from_type_v2": "a tensor of a class of its own",
    },
    hint=TORCH_HINT,
    persistent=True,
)


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


def torch_zip(data: bytes) -> object:
    """What `torch.save` has written since torch 1.6.

    Raises:
        Refused: torch writes no such file.
    """
    if data[-22:-18] != b"PK\x05\x06":
        raise Refused("its zip has no end, so it was cut short", "fetch it again")
    if data.count(b"PK\x01\x02") > MOST_RECORDS:
        raise Refused(f"its zip has more than {MOST_RECORDS} records")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        records = archive.infolist()
        root = root_of([record.filename for record in records])
        check_plain(records, len(data))
        _, kept = walk(io.BytesIO(archive.read(f"{root}/data.pkl")), TORCH_RULES)
        # torch does not look at the checksums, and a changed value has no other sign.
        if changed := archive.testzip():
            raise Refused(f"its record {quoted(changed)} was changed since it was saved", "fetch it again")
    sizes = {record.filename: record.file_size for record in records}
    for key, size in storage_sizes(kept).items():
        if sizes.get(f"{root}/data/{key}") != size:
            raise Refused(f"its storage {quoted(key)} has not the {size} bytes that its pickle says")
    return torch_load(data)


def root_of(names: list[str]) -> str:
    """The folder in a zip that all records are in.

    Raises:
        Refused: the records are not those of torch.save.
    """
    root = names[0].partition("/")[0] if names else ""
    if f"{root}/constants.pkl" in names:
        hint = 'save its tensors: torch.save(torch.jit.load("model.pt").state_dict(), "weights.pth")'
        raise Refused("it is a TorchScript program", hint)
    if f"{root}/data.pkl" not in names:
        raise Refused("it is a zip, but not one of torch.save", TORCH_HINT)
    for name in names:
        if not name.startswith(f"{root}/") or ".." in name.split("/"):
            raise Refused(f"its zip has a record {quoted(name)}, which is not in the folder of the others")
    # torch's reader of zips takes upper case for lower.
    if len({name.lower() for name in names}) != len(names):
        raise Refused("its zip has a record twice")
    return root


def check_plain(records: list[zipfile.ZipInfo], file_bytes: int) -> None:
    """See to it that reading the records takes no more memory than the file.

    Raises:
        Refused: one is compressed, or several are of the same bytes.
    """
    for record in records:
        if record.compress_type != zipfile.ZIP_STORED or record.file_size != record.compress_size:
            raise Refused(f"its zip has a compressed record {quoted(record.filename)}, and torch compresses none")
    if sum(record.file_size for record in records) > file_bytes:
        raise Refused("its zip has records that overlap")


def torch_legacy(data: bytes) -> object:
    """What `torch.save` wrote before torch 1.6: five pickles, then the storages, each after its length.

    Raises:
        Refused: torch wrote no such file.
    """
    stream = io.BytesIO(data)
    kept: list[Thing] = []
    for _ in range(5):
        listed, more = walk(stream, TORCH_RULES)
        kept += more
    sizes = storage_sizes(kept)
    keys = [thing.value for thing in listed.items]
    # A storage that is not listed would be left as it was allocated: with whatever the memory held.
    if sorted(map(str, keys)) != sorted(sizes):
        raise Refused("its list of storages is not of those that it uses")
    if len(data) - stream.tell() != sum(8 + size for size in sizes.values()):
        raise Refused("its storages have not the length that its pickle says, so it was cut short or changed")
    return torch_load(data)


def storage_sizes(kept: list[Thing]) -> dict[str, int]:
    """Bytes of each storage, from `("storage", type, key, place, elements)` and, before torch 1.6, None.

    Raises:
        Refused: torch refers to a storage in another way.
    """
    sizes: dict[str, int] = {}
    for thing in kept:
        match thing.items:
            case [
                Thing(value="storage"),
                Thing(kind="name", name=storage),
                Thing(value=str(key)),
                Thing(value=str()),
                Thing(value=int(elements)),
                *view,
            ] if storage in STORAGE_BYTES and elements >= 0 and view in ([], [Thing("atom")]):
                size = elements * STORAGE_BYTES[storage]
            case _:
                raise Refused("its pickle refers to data that is no storage", TORCH_HINT)
        if sizes.setdefault(key, size) != size:
            raise Refused(f"its storage {quoted(key)} has two lengths")
    return sizes


def torch_load(data: bytes) -> object:
    """What torch makes of its file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


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


MAGIC = pickle.dumps(torch.serialization.MAGIC_NUMBER, protocol=2)
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
