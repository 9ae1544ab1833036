"""Pickles and torch files, written opcode by opcode."""

import io
import pickle
import zipfile

import torch


def text(value):
    """BINUNICODE."""
    encoded = value.encode("utf-8", "surrogatepass")
    return b"X" + len(encoded).to_bytes(4, "little") + encoded


def number(value):
    """BININT, or LONG1 for larger numbers."""
    if -(2**31) <= value < 2**31:
        return b"J" + value.to_bytes(4, "little", signed=True)
    return b"\x8a\x10" + value.to_bytes(16, "little", signed=True)


def named(name):
    """GLOBAL."""
    return b"c" + name.replace(":", "\n").encode() + b"\n"


def group(*parts):
    """MARK … TUPLE."""
    return b"(" + b"".join(parts) + b"t"


def call(name, *arguments):
    """GLOBAL, arguments, REDUCE: a call."""
    return named(name) + group(*arguments) + b"R"


KEY = text("features.conv0.weight")


def held(value, key=KEY):
    """Write a dict of one item as a pickle of protocol 2."""
    return b"\x80\x02}" + key + value + b"s."


DTYPE = call("numpy:dtype", text("f4"), number(0), number(1))
DTYPE_STATE = group(number(3), text("<"), b"NNN", number(-1), number(-1), number(0)) + b"b"


FLOAT32 = DTYPE + DTYPE_STATE
ZEROS = "\0" * 8


def array(shape=(2,), dtype=FLOAT32, content=ZEROS):
    """Write a numpy array like protocol 2."""
    made = call("numpy.core.multiarray:_reconstruct", named("numpy:ndarray"), group(number(0)), text("b"))
    data = call("_codecs:encode", text(content), text("latin1")) if isinstance(content, str) else content
    return made + group(number(1), group(*map(number, shape)), dtype, b"\x89", data) + b"b"


def storage(key="0", elements=4, storage_type="torch:FloatStorage", end=b""):
    """Write a reference to a torch storage."""
    return group(text("storage"), named(storage_type), text(key), text("cpu"), number(elements), end) + b"Q"


def tensor(data=None, shape=(4,), strides=(1,)):
    """Write a tensor like torch."""
    hooks = named("collections:OrderedDict") + b")R"
    sizes = group(*map(number, shape)), group(*map(number, strides))
    return call("torch._utils:_rebuild_tensor_v2", data or storage(), number(0), *sizes, b"\x89", hooks)


ONE_STORAGE = (("archive/data/0", bytes(16)),)


def in_zip(content, records=ONE_STORAGE, method=zipfile.ZIP_STORED, name="archive/data.pkl"):
    """Write a zip like torch.save."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for record, data in ((name, content), ("archive/version", b"3\n"), *records):
            archive.writestr(record, data)
    return stream.getvalue()


LEGACY_STORAGES = ((4).to_bytes(8, "little") + bytes(16),)


def legacy(content, keys=("0",), storages=LEGACY_STORAGES):
    """Write a file like torch.save before torch 1.6."""
    head = pickle.dumps(torch.serialization.MAGIC_NUMBER, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2)
    return head + content + pickle.dumps(list(keys), 2) + b"".join(storages)
