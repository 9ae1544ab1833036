"""torch's two formats of files, held against what torch.save writes before torch.load reads them.

`weights_only` keeps code out; what is looked at here keeps out what would take memory without end, or give other values
than the file has.
"""

from __future__ import annotations

import io
import pickle
import warnings
import zipfile

import torch

from generator.errors import quoted
from generator.weights.pickle_scan import ORDERED_DICT, Permit, Refused, Rules, Thing, walk

MAGIC = pickle.dumps(torch.serialization.MAGIC_NUMBER, protocol=2)
MOST_RECORDS = 20_000  # a tensor a record
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
