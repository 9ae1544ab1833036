"""torch's two file formats, checked against the files that torch.save writes before torch.load reads them.

`weights_only` keeps code out. These checks keep out files that would need unbounded memory, or load as values
that the file does not have.
"""

import io
import pickle
import warnings
import zipfile

import torch

from generator.errors import quoted
from generator.weights.pickle_scan import ORDERED_DICT, Permit, Refused, Rules, Thing, walk

MAGIC = pickle.dumps(torch.serialization.MAGIC_NUMBER, protocol=2)
MOST_RECORDS = 20_000  # one per tensor
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
    """Load the format that `torch.save` writes since torch 1.6; raise Refused if it writes no such file."""
    if data[-22:-18] != b"PK\x05\x06":
        raise Refused("its zip has no end, so the file is incomplete", "download it again")
    if data.count(b"PK\x01\x02") > MOST_RECORDS:
        raise Refused(f"its zip has more than {MOST_RECORDS} records")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        records = archive.infolist()
        root = root_folder([record.filename for record in records])
        # Reading the records must need no more memory than the file.
        for record in records:
            if record.compress_type != zipfile.ZIP_STORED or record.file_size != record.compress_size:
                raise Refused(f"its zip has a compressed record {quoted(record.filename)}; torch compresses none")
        if sum(record.file_size for record in records) > len(data):
            raise Refused("its zip has records that overlap")
        _, kept = walk(io.BytesIO(archive.read(f"{root}/data.pkl")), TORCH_RULES)
        # torch ignores the checksums, and a changed value has no other sign.
        if changed := archive.testzip():
            raise Refused(f"its record {quoted(changed)} does not match its checksum", "download it again")
    sizes = {record.filename: record.file_size for record in records}
    for key, size in storage_sizes(kept).items():
        if sizes.get(f"{root}/data/{key}") != size:
            raise Refused(f"its storage {quoted(key)} does not have the {size} bytes that its pickle declares")
    return torch_load(data)


def root_folder(names: list[str]) -> str:
    """Return the folder in a zip that holds all records; raise Refused if torch.save writes no such records."""
    root = names[0].partition("/")[0] if names else ""
    if f"{root}/constants.pkl" in names:
        hint = 'save its tensors: torch.save(torch.jit.load("model.pt").state_dict(), "weights.pth")'
        raise Refused("it is a TorchScript program", hint)
    if f"{root}/data.pkl" not in names:
        raise Refused("it is a zip that torch.save did not write", TORCH_HINT)
    for name in names:
        if not name.startswith(f"{root}/") or ".." in name.split("/"):
            raise Refused(f"its zip has a record {quoted(name)} outside of the folder of the others")
    # torch's zip reader ignores letter case.
    if len({name.lower() for name in names}) != len(names):
        raise Refused("its zip has two records of one name")
    return root


def torch_legacy(data: bytes) -> object:
    """Load torch's format before 1.6: five pickles, then the storages, each after its length; else raise Refused."""
    stream = io.BytesIO(data)
    kept: list[Thing] = []
    for _ in range(5):
        listed, more = walk(stream, TORCH_RULES)
        kept += more
    sizes = storage_sizes(kept)
    keys = [thing.value for thing in listed.items]
    # torch would leave a storage that is not listed uninitialised.
    if sorted(map(str, keys)) != sorted(sizes):
        raise Refused("its list of storages does not match the storages that its tensors use")
    if len(data) - stream.tell() != sum(8 + size for size in sizes.values()):
        raise Refused("its storages do not have the length that its pickle declares, so it is incomplete or changed")
    return torch_load(data)


def storage_sizes(kept: list[Thing]) -> dict[str, int]:
    """Return the bytes of each storage, from `("storage", type, key, place, elements)` and, before torch 1.6, None."""
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
                raise Refused("its pickle refers to data that is not a storage", TORCH_HINT)
        if sizes.setdefault(key, size) != size:
            raise Refused(f"its storage {quoted(key)} has two lengths")
    return sizes


def torch_load(data: bytes) -> object:
    """Load a checked file with torch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
