"""Hostile pickles and torch files: each is refused with its own message."""

import pickle
import zipfile

import pytest
import torch
from hand_pickles import (
    DTYPE,
    DTYPE_STATE,
    array,
    call,
    group,
    held,
    in_zip,
    legacy,
    named,
    number,
    storage,
    tensor,
    text,
)
from hostile_weights import EXECUTED, assert_says, events, refused, watched

from generator.weights import containers

pytestmark = pytest.mark.usefixtures("warm_weights")


LAUGHS = b"]q\x00" + b"".join(b"0](h%ch%ceq%c" % (i, i, i + 1) for i in range(60))

PICKLES = {
    "code by INST": (held(b"(" + text("true") + b"ios\nsystem\n"), "the opcode INST, which tensors do not need"),
    "code by OBJ": (held(b"(" + named("numpy:dtype") + text("f4") + b"o"), "the opcode OBJ"),
    "code by NEWOBJ": (held(named("numpy:dtype") + b")\x81"), "the opcode NEWOBJ"),
    "code by NEWOBJ_EX": (b"\x80\x04}" + text("a") + named("numpy:dtype") + b")}\x92s.", "the opcode NEWOBJ_EX"),
    "code by EXT1": (held(b"\x82\x01"), "the opcode EXT1"),
    "code by EXT4": (held(b"\x84\x01\x00\x00\x00"), "the opcode EXT4"),
    "code in a persistent id": (held(call("os:system", text("true")) + b"Q"), f"it names os.system, {EXECUTED}"),
    "a persistent id": (held(text("storage") + b"Q"), "its pickle refers to data outside of it"),
    "a persistent id in text": (held(b"P0\n"), "the opcode PERSID"),
    "code in a key": (held(b"N", call("os:system", text("true"))), f"it names os.system, {EXECUTED}"),
    "code by another name": (
        b"\x80\x04}" + text("a") + text("os") + text("system") + b"\x93" + text("x") + b"\x85Rs.",
        "names os.system",
    ),
    "code through an allowed module": (
        b"\x80\x04}" + text("a") + text("numpy") + text("dtype.mro") + b"\x93)Rs.",
        "names numpy.dtype.mro",
    ),
    "a name out of numbers": (b"\x80\x04}" + text("a") + number(1) + number(2) + b"\x93)Rs.", r"names \?\.\?"),
    "a name with escapes": (held(named("\x1b[31m:a\x07")), r"it names '\\x1b\[31m\.a\\x07', and nothing"),
    "a name of 100 kB": (held(named("a:" + "b" * 100_000)), r"it names 'a\.b{57}…', and nothing"),
    "a call of a value": (held(text("f") + b")R"), r"its pickle calls a value \(atom\)"),
    "a call of a call": (held(call("numpy:dtype", text("f4")) + b")R"), "its pickle calls numpy.dtype"),
    "a call of an array": (held(named("numpy:ndarray") + b")R"), "its pickle calls numpy.ndarray"),
    "a state for a dict": (held(call("collections:OrderedDict") + b"}b"), "sets the state of collections.OrderedDict"),
    "a state for a function": (held(named("_codecs:encode") + b"}b"), "sets the state of _codecs.encode"),
    "a state for a value": (held(b"}}b"), r"sets the state of a value \(dict\)"),
    "a state that is none": (
        held(array()[:-1].replace(b"(J\x01\0\0\0(", b"((", 1) + b"b"),
        "it is damaged: 'not enough values to unpack",
    ),
    "another codec": (held(call("_codecs:encode", text("x"), text("rot13"))), "encodes something other than bytes"),
    "a codec of bytes": (held(call("_codecs:encode", b"C\x01x", text("zlib"))), "encodes something other than bytes"),
    "no latin1": (held(array(content="☃" * 8)), "it is damaged: .*latin-1"),
    "a memo of gigabytes": (held(b"Nr\xff\xff\xff\x0f"), "saves a value at memo index 268435455 after 5 opcodes"),
    "a memo of nothing": (b"\x80\x02q\x00}.", "saves a value at memo index 0 after 2 opcodes"),
    "a reference to nothing": (held(b"h\x07"), "reuses the value at memo index 7, which is missing or a container"),
    "laughs": (held(LAUGHS.replace(b"0]", b"]")), "reuses the value at memo index 0, which is missing or a container"),
    "a dict in itself": (
        b"\x80\x02}q\x00" + text("a") + b"h\x00s.",
        "reuses the value at memo index 0, which is missing or a container",
    ),
    "tuples in tuples": (
        held(b")" + b"\x85" * 200_000, b")" + b"\x85" * 200_000),
        "nests values more than 16 deep",
    ),
    "lists in lists": (b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".", "nests values more than 16 deep"),
    "opcodes without end": (b"\x80\x02" + b"N" * 2_000_000 + b".", "has more than 500000 opcodes"),
    "a text of exabytes": (b"\x80\x04\x8d" + (1 << 60).to_bytes(8, "little") + b"x.", "damaged or incomplete"),
    "bytes of terabytes": (b"\x80\x04\x8e" + (1 << 40).to_bytes(8, "little") + b"x.", "damaged or incomplete"),
    "an integer of megabytes": (
        held(b"\x8b" + (1 << 20).to_bytes(4, "little") + b"\x7f" * (1 << 20)),
        "the opcode LONG4",
    ),
    "an opcode across a frame": (
        b"\x80\x04\x95" + (3).to_bytes(8, "little") + text("abc") + b".",
        "has inconsistent frames",
    ),
    "a frame in a frame": (
        b"\x80\x04" + (b"\x95" + (60).to_bytes(8, "little")) * 2 + b"}.",
        "has inconsistent frames",
    ),
    "a frame of exabytes": (b"\x80\x04\x95" + (1 << 62).to_bytes(8, "little") + b"}.", "it is damaged: "),
    "an unknown opcode": (b"\x80\x02\xff.", "its pickle is damaged or incomplete"),
    "text that is not UTF-8": (b"\x80\x02X\x01\0\0\0\xff.", "its pickle is damaged or incomplete"),
    "protocol 9": (b"\x80\x09}.", "its pickle has protocol 9"),
    "an end without a value": (b"\x80\x02.", "the opcode STOP with too few values before it"),
    "a mark that is missing": (b"\x80\x02NNt.", "the opcode TUPLE with too few values before it"),
    "a value under a mark": (b"\x80\x02N(\x85.", "the opcode TUPLE1 with too few values before it"),
    "an item for a tuple": (b"\x80\x02)" + text("a") + b"Ns.", "sets an item of a value that is not a dict"),
    "an element for a dict": (b"\x80\x02}Na.", "appends to a value that is not a list"),
    "a key without a value": (b"\x80\x02}(" + text("a") + b"u.", "it is damaged: 'odd number of items"),
    "a set": (held(b"\x8f"), "the opcode EMPTY_SET"),
    "a buffer that is elsewhere": (b"\x80\x05\x97.", "the opcode NEXT_BUFFER"),
    "a shape of terabytes": (
        held(array((10**12,))),
        r"its 'features.conv0.weight' has 8 bytes, but the shape \[1000000000000\] needs 4000000000000",
    ),
    "a shape of 100 digits": (held(array((10**36,))), "its 'features.conv0.weight' has an invalid shape"),
    "a shape of a million": (held(array((1,) * 100_000, content="\0" * 4)), "has an invalid shape"),
    "a negative shape": (held(array((-2, -1))), "its 'features.conv0.weight' has an invalid shape"),
    "a shape of texts": (
        held(array(dtype=DTYPE)[:-1].replace(number(2), text("2")) + b"b"),
        "has an invalid shape",
    ),
    "too few bytes": (held(array((3,))), r"has 8 bytes, but the shape \[3\] needs 12"),
    "too many bytes": (held(array((1,))), r"has 8 bytes, but the shape \[1\] needs 4"),
    "objects": (held(array(dtype=DTYPE.replace(b"f4", b"O8"))), "has the numpy type 'O8', which is not supported"),
    "records": (held(array(dtype=DTYPE.replace(b"f4", b"V4"))), "has the numpy type 'V4'"),
    "complex numbers": (held(array((1,), DTYPE.replace(b"f4", b"c8"))), "has the numpy type 'c8'"),
    "a type that is code": (held(array(dtype=call("numpy:dtype", text("f4,O")))), "has the numpy type 'f4,O'"),
    "no type": (held(array(dtype=b"N")), "has the numpy type 'None'"),
    "a byte order of its own": (held(array(dtype=DTYPE + DTYPE_STATE.replace(b"<", b"!"))), "it is damaged: "),
    "objects in a list": (held(array(content=b"]")), r"has 0 bytes, but the shape \[2\]"),
    "an array without a state": (held(array()[: array().index(b"R(J\x01") + 1]), "has the numpy type 'None'"),
    "an array in a list": (held(b"]" + array() + b"a"), "its 'features.conv0.weight' is of type list, not a tensor"),
    "a number": (b"\x80\x02K\x01.", "it holds a value of type int, not a dict of tensors"),
    "an array alone": (b"\x80\x02" + array() + b".", "it holds a value of type Array, not a dict of tensors"),
    "nothing": (b"\x80\x02}.", "it holds no tensors"),
    "keys that are numbers": (held(array(), number(1)), "it has a key of type int, not a string"),
    "keys that are tuples": (held(array(), number(1) + b"\x85"), "it has a key of type tuple, not a string"),
    "keys that cannot be": (held(array(), b"]"), "it is damaged: \"unhashable type: 'list'\""),
    "half a surrogate in a key": (
        held(array(), text("\ud800")),
        r"parameters are not those of a DenseNet or DPN: '\\ud800'",
    ),
    "escapes in a key": (held(array(), text("\x1b]0;owned\x07\u202e")), r"DPN: '\\x1b\]0;owned\\x07\\u202e'"),
    "a key of 100 kB": (held(array(), text("k" * 100_000)), "DPN: 'k{59}…'"),
}


PYTHON_2_TENSOR = call("torch._utils:_rebuild_tensor", storage(end=b"N"), number(0), group(number(4)), group(number(1)))
GOOD = {
    "an array": held(array(), text("a")),
    "a tensor in a zip": in_zip(held(tensor(), text("a"))),
    "a tensor in a legacy file": legacy(held(tensor(storage(end=b"N")), text("a"))),
    "a tensor of Python 2 and torch 0.2": legacy(held(PYTHON_2_TENSOR, b"U\x01a")),
}


@pytest.mark.parametrize("content", GOOD.values(), ids=GOOD)
def test_parts_of_the_hostile_files_are_valid(content, tmp_path):
    """Files from the same hand-written parts load, so a refusal is for the hostile part."""
    (tmp_path / "weights").write_bytes(content)
    with watched():
        _, tensors = containers.parse(tmp_path / "weights", (tmp_path / "weights").read_bytes())
    assert list(tensors) == ["a"]
    assert torch.equal(tensors["a"], torch.zeros(len(tensors["a"])))
    assert events == []


@pytest.mark.parametrize(("content", "sentence"), PICKLES.values(), ids=PICKLES)
def test_hostile_pickle_is_refused(content, sentence, tmp_path):
    """Nothing is imported, called or expanded; the message says what is wrong."""
    (tmp_path / "weights.pdparams").write_bytes(content)
    assert_says(refused(tmp_path / "weights.pdparams")[0], sentence)


ZIP_BOMB = (("archive/data/0", bytes(64 << 20)),)
BIG = (1 << 40, "its storage '0' does not have the 4398046511104 bytes that its pickle declares")
TORCH_FILES = {
    "a call in a zip": (in_zip(held(call("os:system", text("true")))), f"it names os.system, {EXECUTED}"),
    "a call in a legacy file": (legacy(held(call("os:system", text("true")))), f"it names os.system, {EXECUTED}"),
    "a call in the first of a legacy file's pickles": (
        pickle.dumps(torch.serialization.MAGIC_NUMBER, 2) + b"\x80\x02" + call("os:system", text("true")) + b".",
        f"it names os.system, {EXECUTED}",
    ),
    "a call in the last of a legacy file's pickles": (
        legacy(held(tensor(storage(end=b"N")))).replace(b"]q\x00", b"\x80\x02" + call("os:system", text("true"))),
        f"it names os.system, {EXECUTED}",
    ),
    "a module by its name": (in_zip(held(named("__main__:Net") + b")\x81")), f"it names __main__.Net, {EXECUTED}"),
    "a module with its source": (
        legacy(held(group(text("module"), named("__main__:Net"), text("net.py"), text("import os")) + b"Q")),
        f"it names __main__.Net, {EXECUTED}",
    ),
    "a byte array of gigabytes": (
        in_zip(held(call("__builtin__:bytearray", number(1 << 33)))),
        "it names __builtin__.bytearray",
    ),
    "a counter": (in_zip(held(call("collections:Counter", text("a")))), "it names collections.Counter"),
    "a class of tensors": (
        in_zip(held(call("torch._tensor:_rebuild_from_type_v2"))),
        "it holds a tensor of a class of its own",
    ),
    "a wrapped tensor": (
        in_zip(held(call("torch._utils:_rebuild_wrapper_subclass"))),
        "it holds a tensor of a class of its own",
    ),
    "a nested tensor": (in_zip(held(call("torch._utils:_rebuild_nested_tensor"))), "it holds a nested tensor"),
    "a state for a tensor": (in_zip(held(tensor() + b"}b")), "sets the state of torch._utils._rebuild_tensor_v2"),
    "a call of a storage": (
        in_zip(held(call("torch:FloatStorage", number(1 << 33)))),
        "its pickle calls torch.FloatStorage",
    ),
    "a storage of code": (
        in_zip(held(group(text("module"), text("net.py")) + b"Q")),
        "refers to data that is not a storage",
    ),
    "a storage of a name": (in_zip(held(text("storage") + b"Q")), "refers to data that is not a storage"),
    "a storage of fewer bytes": (
        in_zip(held(tensor(storage(elements=100)))),
        "its storage '0' does not have the 400 bytes that its pickle declares",
    ),
    "a storage of terabytes": (in_zip(held(tensor(storage(elements=BIG[0])))), BIG[1]),
    "a storage that is missing": (in_zip(held(tensor(storage(key="7")))), "its storage '7' does not have the 16 bytes"),
    "a storage elsewhere": (
        in_zip(held(tensor(storage(key="../../etc")))),
        r"its storage '../../etc' does not have the 16 bytes",
    ),
    "two lengths of a storage": (
        in_zip(held(group(storage(), storage(elements=2)))),
        "its storage '0' has two lengths",
    ),
    "a tensor larger than its storage": (in_zip(held(tensor(shape=(1 << 40,)))), "it is damaged: "),
    "a tensor of one number": (
        in_zip(held(tensor(shape=(1 << 40,), strides=(0,)))),
        "its tensors are larger than the file",
    ),
    "a tensor before its storage": (in_zip(held(tensor(shape=(4,), strides=(-1,)))), "it is damaged: "),
    "a legacy storage of gigabytes": (
        legacy(held(tensor(storage(elements=1 << 36, end=b"N")))),
        "its storages do not have the length that its pickle declares",
    ),
    "a legacy storage that is not listed": (
        legacy(held(tensor(storage(end=b"N"))), keys=()),
        "its list of storages does not match the storages that its tensors use",
    ),
    "a legacy storage that is listed twice": (
        legacy(held(tensor(storage(end=b"N"))), keys=("0", "0")),
        "its list of storages does not match the storages that its tensors use",
    ),
    "a legacy view of a storage": (
        legacy(held(tensor(storage(end=group(text("1"), number(0), number(1)))))),
        "refers to data that is not a storage",
    ),
    "a legacy storage of another length": (
        legacy(held(tensor(storage(end=b"N"))), storages=((3).to_bytes(8, "little") + bytes(16),)),
        "it is damaged: ",
    ),
    "a compressed record": (
        in_zip(held(tensor()), method=zipfile.ZIP_DEFLATED),
        "a compressed record 'archive/data.pkl'; torch",
    ),
    "a bomb": (in_zip(held(tensor()), ZIP_BOMB, zipfile.ZIP_BZIP2), "a compressed record 'archive/data.pkl'"),
    "records out of the folder": (
        in_zip(held(tensor()), (("../../../etc/cron.d/x", b"x"),)),
        r"its zip has a record '../../../etc/cron.d/x' outside of the folder of the others",
    ),
    "records above the folder": (in_zip(held(tensor()), (("archive/../../x", b"x"),)), "a record 'archive/../../x'"),
    "records twice": (
        in_zip(held(tensor()), (("archive/data/0", bytes(16)), ("archive/DATA/0", b""))),
        "its zip has two records of one name",
    ),
    "records without end": (
        in_zip(held(tensor())).replace(b"", b"")[:-22] + b"PK\x01\x02" * 20_001 + b"PK\x05\x06" + bytes(18),
        "its zip has more than 20000 records",
    ),
    "records without a pickle": (in_zip(b"x", name="archive/readme"), "it is a zip that torch.save did not write"),
    "a program of TorchScript": (
        in_zip(held(tensor()), (("archive/constants.pkl", b"x"),)),
        "it is a TorchScript program",
    ),
    "a directory that lies": (in_zip(held(tensor()))[:-6] + b"\xff\xff\xff\x00\x00\x00", "it is damaged: "),
    "a changed value": (
        in_zip(held(tensor()), (("archive/data/0", b"0123" * 4),)).replace(b"0123", b"0124", 1),
        "its record 'archive/data/0' does not match its checksum",
    ),
    "a changed pickle": (in_zip(held(tensor())).replace(b"conv0", b"conv1", 1), 'it is damaged: "Bad CRC-32'),
    "a pickle of protocol 4": (
        in_zip(b"\x80\x04\x95" + (9).to_bytes(8, "little") + b"}\x94\x8c\x01aNs."),
        "it is damaged: ",
    ),
}


@pytest.mark.parametrize(("content", "sentence"), TORCH_FILES.values(), ids=TORCH_FILES)
def test_hostile_torch_file_is_refused(content, sentence, tmp_path):
    """The file is refused before torch's reader sees it."""
    (tmp_path / "weights.pth").write_bytes(content)
    assert_says(refused(tmp_path / "weights.pth")[0], sentence)


def test_overlapping_records_are_refused(tmp_path):
    """A thousand directory entries for the same megabyte would need a gigabyte of memory."""
    content = in_zip(held(tensor()), ((f"archive/data/{i}", bytes(1 << 18 if i == 0 else 0)) for i in range(9)))
    directory = content.index(b"PK\x01\x02")
    for i in range(1, 9):
        name = content.index(f"archive/data/{i}".encode(), directory)
        first = content.index(b"archive/data/0", directory)
        sizes = content[first - 46 + 16 : first - 46 + 28]
        content = content[: name - 46 + 16] + sizes + content[name - 46 + 28 :]
    (tmp_path / "weights").write_bytes(content)
    assert refused(tmp_path / "weights")[0] == "its zip has records that overlap"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_whole_modules_and_torchscript_are_refused(tmp_path):
    """A saved module and a TorchScript archive are programs, not weights."""
    module = torch.nn.Sequential(torch.nn.Linear(2, 2))
    torch.save(module, tmp_path / "whole.pth")
    assert refused(tmp_path / "whole.pth")[0] == f"it names torch.nn.modules.container.Sequential, {EXECUTED}"
    torch.jit.save(torch.jit.trace(module, torch.ones(1, 2)), tmp_path / "script.pt")
    sentence, hint = refused(tmp_path / "script.pt")
    assert sentence == "it is a TorchScript program"
    assert "torch.jit.load" in hint
