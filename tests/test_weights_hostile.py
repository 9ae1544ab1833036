"""Files that are not weights, or are more than weights: each is refused in its own words, and nothing in it runs."""

import contextlib
import copyreg
import ctypes
import functools
import importlib
import io
import json
import os
import pickle
import re
import resource
import runpy
import signal
import subprocess
import sys
import timeit
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import eventually
from weights_samples import (
    BY_NAME,
    TINY_DENSENET,
    Call,
    as_old_torchvision,
    as_paddle,
    paddle_content,
    state_dict,
    write,
)

from generator.errors import WeightsUnusable
from generator.spec import Network, TorchNetwork
from generator.weights import files, paddle_pickle, pickle_scan, torch_file
from generator.weights.load import load
from generator.weights.pickle_scan import Refused

EXECUTED = "and nothing in a weights file is executed"
# What a pickle would have to do to run something, as Python's audit events name it.
RUNNING = ("os.system", "os.exec", "os.fork", "os.posix_spawn", "subprocess.Popen", "ctypes.dlopen", "socket.connect")
RUNNING += ("pickle.find_class", "urllib.Request", "shutil.rmtree", "os.remove", "os.rename")
ADDRESS_SPACE_BYTES = 1 << 30
SECONDS = 20
events = []
watching = []


def audit(event, arguments):
    """Note what runs or writes while a test watches."""
    if not watching:
        return
    generated = event == "exec" and getattr(arguments[0], "co_filename", "") == "<string>"
    written = (
        event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    )
    if event in RUNNING or generated or written:
        events.append((event, str(arguments)[:200]))


sys.addaudithook(audit)


@contextlib.contextmanager
def watched():
    """No event that runs or writes, no gigabyte, and an end within seconds."""

    def late(*_):
        raise TimeoutError

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ADDRESS_SPACE_BYTES, hard))
    events.clear()
    watching.append(True)
    try:
        yield
    finally:
        watching.clear()
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module", autouse=True)
def _warm(tmp_path_factory):
    """What is imported at the first load is imported now."""
    folder = tmp_path_factory.mktemp("warm")
    state = state_dict(TINY_DENSENET)
    for container in ("torch zip", "torch legacy", "safetensors"):
        load(TINY_DENSENET, write(folder / container, state, container))
    load(TINY_DENSENET, write(folder / "paddle", as_paddle(TINY_DENSENET, state), "Paddle pickle 4"))
    with pytest.raises(WeightsUnusable):
        load(BY_NAME["dpn68"], folder / "paddle")


def refused(path, network=TINY_DENSENET):
    """The sentence and hint of a file that is refused, quietly and in one printable line."""
    with watched(), pytest.raises(WeightsUnusable) as caught:
        load(network, path)
    sentence = str(caught.value)
    assert events == []
    assert caught.value.exit_code == 1
    assert sentence.isprintable()
    assert len(sentence) < len(str(path)) + 350
    prefix = f"{path} cannot be used as weights: "
    assert sentence.startswith(prefix)
    return sentence.removeprefix(prefix), caught.value.hint


# Calls that leave a marker, or would reach far if they were made.


def payloads(folder):
    """Calls by the name that a pickle has for them; those of the first table leave a marker when they are made."""
    marker, script = folder / "marker", folder / "script.py"
    write_marker = f"open({str(marker)!r}, 'w').close()"
    script.write_text(write_marker)
    np.save(folder / "objects.npy", np.array([Call(os.system, f"touch {marker}")], dtype=object))
    return {
        "posix.system": Call(os.system, f"touch {marker}"),
        "builtins.eval": Call(eval, write_marker),
        "builtins.exec": Call(exec, write_marker),
        "subprocess.Popen": Call(subprocess.Popen, ["touch", str(marker)]),
        "runpy.run_path": Call(runpy.run_path, str(script)),
        "timeit.timeit": Call(timeit.timeit, write_marker, "pass", timeit.default_timer, 1),
        "numpy.load": Call(np.load, str(folder / "objects.npy"), None, 1),
        "functools.partial": Call(Call(functools.partial, os.system, f"touch {marker}")),
        "builtins.getattr": Call(Call(getattr, Call(importlib.import_module, "os"), "system"), f"touch {marker}"),
    }, {
        "importlib.import_module": Call(importlib.import_module, "antigravity"),
        "torch.hub.load": Call(torch.hub.load, "pytorch/vision", "densenet121"),
        "ctypes.CDLL": Call(ctypes.CDLL, str(script)),
        "copyreg._reconstructor": Call(copyreg._reconstructor, dict, dict, {}),  # noqa: SLF001
        "numpy.core.multiarray.scalar": Call(np.core.multiarray.scalar, np.dtype("O"), b"x"),
        "torch._utils._rebuild_device_tensor_from_numpy": Call(
            torch._utils._rebuild_device_tensor_from_numpy,  # noqa: SLF001
            *(0, "f", "cpu", 1),
        ),
    }


@pytest.fixture(name="calls", scope="module")
def _calls(tmp_path_factory):
    """A folder for a marker, and the calls that leave one there."""
    folder = tmp_path_factory.mktemp("calls")
    marking, others = payloads(folder)
    return folder / "marker", marking, others


MARKING = ("posix.system", "builtins.eval", "builtins.exec", "subprocess.Popen", "runpy.run_path", "timeit.timeit")
MARKING += ("numpy.load", "functools.partial", "builtins.getattr")
# What protocol 2 calls them.
PYTHON_2 = {name: name.replace("builtins", "__builtin__") for name in MARKING} | {
    "subprocess.Popen": "commands.Popen",
    "copyreg._reconstructor": "copy_reg._reconstructor",
}
OTHERS = ("importlib.import_module", "torch.hub.load", "ctypes.CDLL", "copyreg._reconstructor")
OTHERS += ("numpy.core.multiarray.scalar", "torch._utils._rebuild_device_tensor_from_numpy")


@pytest.mark.parametrize("name", MARKING)
def test_the_payloads_work(name, calls):
    """Plain pickle runs each of them: the marker is there, and the audit hook has seen what made it."""
    marker, marking, _ = calls
    marker.unlink(missing_ok=True)
    content = paddle_content({"features.conv0.weight": marking[name]}, 4)
    with watched():
        pickle.loads(content)  # noqa: S301
    assert eventually(marker.exists, seconds=10)
    assert "pickle.find_class" in [event for event, _ in events]
    marker.unlink()


@pytest.mark.parametrize("container", ["torch zip", "torch legacy", "Paddle pickle 2", "Paddle pickle 4"])
@pytest.mark.parametrize("name", [*MARKING, *OTHERS])
def test_no_call_is_made(name, container, calls, tmp_path):
    """The sentence names the function; the marker is not there."""
    marker, marking, others = calls
    path = write(tmp_path / "weights", {"features.conv0.weight": {**marking, **others}[name]}, container)
    sentence, hint = refused(path)
    assert sentence.removeprefix("it names ").startswith((name, PYTHON_2.get(name, name)))
    assert sentence.endswith(f", {EXECUTED}")
    assert "save tensors only: " in hint
    assert ("paddle.save" in hint) == container.startswith("Paddle")
    assert not marker.exists()


@pytest.mark.parametrize("name", MARKING)
def test_either_defence_is_enough(name, calls):
    """The walk alone refuses, and so does the unpickler that has not been preceded by one."""
    marker, marking, _ = calls
    content = paddle_content({"features.conv0.weight": marking[name]}, 4)
    with watched():
        with pytest.raises(Refused, match="it names "):
            pickle_scan.walk(io.BytesIO(content), paddle_pickle.RULES)
        with pytest.raises(Refused, match="it names "):
            paddle_pickle.Unpickler(io.BytesIO(content)).load()
    assert events == []
    assert not marker.exists()


@pytest.mark.parametrize("container", ["torch zip", "torch legacy"])
@pytest.mark.parametrize("name", MARKING)
def test_torch_is_told_to_make_tensors_only(name, container, calls, tmp_path, monkeypatch):
    """Without the walk torch's own unpickler still refuses."""
    marker, marking, _ = calls
    path = write(tmp_path / "weights", {"a": marking[name]}, container)
    monkeypatch.setattr(torch_file, "walk", lambda *_: (pickle_scan.Thing("list"), []))
    if container == "torch legacy":
        monkeypatch.setattr(files, "CONTAINERS", (files.Container("", lambda _: True, torch_file.torch_load),))
    assert_says(refused(path)[0], "it is damaged: .*(Unsupported|GLOBAL|Weights only)")
    assert not marker.exists()


def test_no_function_of_numpy_is_reached(tmp_path, monkeypatch):
    """A good file loads with every function of numpy's that a pickle names broken."""
    state = as_paddle(TINY_DENSENET, state_dict(TINY_DENSENET))
    for protocol in (2, 5):
        path = write(tmp_path / "weights", state, f"Paddle pickle {protocol}")
        with monkeypatch.context() as patch:
            for module, function in ((np.core.multiarray, "_reconstruct"), (np.core.numeric, "_frombuffer")):
                patch.setattr(module, function, None)
            load(TINY_DENSENET, path)
            with pytest.raises(TypeError, match="not callable"):
                pickle.loads(path.read_bytes())  # noqa: S301
    ours = [stand_in for _, stand_in in paddle_pickle.STAND_INS.values() if stand_in is not None]
    assert {stand_in.__module__ for stand_in in ours} == {"generator.weights.paddle_pickle", "collections"}


# Pickles written opcode by opcode.


def text(value):
    """BINUNICODE."""
    encoded = value.encode("utf-8", "surrogatepass")
    return b"X" + len(encoded).to_bytes(4, "little") + encoded


def number(value):
    """BININT, or LONG1 for what it does not hold."""
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
    """A name called with arguments."""
    return named(name) + group(*arguments) + b"R"


KEY = text("features.conv0.weight")


def held(value, key=KEY):
    """A dict of one item as a pickle of protocol 2."""
    return b"\x80\x02}" + key + value + b"s."


DTYPE = call("numpy:dtype", text("f4"), number(0), number(1))
DTYPE_STATE = group(number(3), text("<"), b"NNN", number(-1), number(-1), number(0)) + b"b"


FLOAT32 = DTYPE + DTYPE_STATE
ZEROS = "\0" * 8


def array(shape=(2,), dtype=FLOAT32, content=ZEROS):
    """A numpy array as protocol 2 writes it."""
    made = call("numpy.core.multiarray:_reconstruct", named("numpy:ndarray"), group(number(0)), text("b"))
    data = call("_codecs:encode", text(content), text("latin1")) if isinstance(content, str) else content
    return made + group(number(1), group(*map(number, shape)), dtype, b"\x89", data) + b"b"


def storage(key="0", elements=4, storage_type="torch:FloatStorage", end=b""):
    """A reference to a storage of torch's, in its place."""
    return group(text("storage"), named(storage_type), text(key), text("cpu"), number(elements), end) + b"Q"


def tensor(data=None, shape=(4,), strides=(1,)):
    """A tensor as torch writes it."""
    hooks = named("collections:OrderedDict") + b")R"
    sizes = group(*map(number, shape)), group(*map(number, strides))
    return call("torch._utils:_rebuild_tensor_v2", data or storage(), number(0), *sizes, b"\x89", hooks)


ONE_STORAGE = (("archive/data/0", bytes(16)),)


def in_zip(content, records=ONE_STORAGE, method=zipfile.ZIP_STORED, name="archive/data.pkl"):
    """A zip as torch.save writes it."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for record, data in ((name, content), ("archive/version", b"3\n"), *records):
            archive.writestr(record, data)
    return stream.getvalue()


LEGACY_STORAGES = ((4).to_bytes(8, "little") + bytes(16),)


def legacy(content, keys=("0",), storages=LEGACY_STORAGES):
    """A file as torch.save wrote it before torch 1.6."""
    head = pickle.dumps(torch.serialization.MAGIC_NUMBER, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2)
    return head + content + pickle.dumps(list(keys), 2) + b"".join(storages)


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
    "a state for a dict": (held(call("collections:OrderedDict") + b"}b"), "gives a state to collections.OrderedDict"),
    "a state for a function": (held(named("_codecs:encode") + b"}b"), "gives a state to _codecs.encode"),
    "a state for a value": (held(b"}}b"), r"gives a state to a value \(dict\)"),
    "a state that is none": (
        held(array()[:-1].replace(b"(J\x01\0\0\0(", b"((", 1) + b"b"),
        "it is damaged: 'not enough values to unpack",
    ),
    "another codec": (held(call("_codecs:encode", text("x"), text("rot13"))), "encodes something else than bytes"),
    "a codec of bytes": (held(call("_codecs:encode", b"C\x01x", text("zlib"))), "encodes something else than bytes"),
    "no latin1": (held(array(content="☃" * 8)), "it is damaged: .*latin-1"),
    "a memo of gigabytes": (held(b"Nr\xff\xff\xff\x0f"), "numbers a value 268435455 after 5 opcodes"),
    "a memo of nothing": (b"\x80\x02q\x00}.", "numbers a value 0 after 2 opcodes"),
    "a reference to nothing": (held(b"h\x07"), "refers to its value 7, which is a container or none"),
    "laughs": (held(LAUGHS.replace(b"0]", b"]")), "refers to its value 0, which is a container or none"),
    "a dict in itself": (
        b"\x80\x02}q\x00" + text("a") + b"h\x00s.",
        "refers to its value 0, which is a container or none",
    ),
    "tuples in tuples": (
        held(b")" + b"\x85" * 200_000, b")" + b"\x85" * 200_000),
        "values in values more than 16 deep",
    ),
    "lists in lists": (b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".", "values in values more than 16 deep"),
    "opcodes without end": (b"\x80\x02" + b"N" * 2_000_000 + b".", "has more than 500000 opcodes"),
    "a text of exabytes": (b"\x80\x04\x8d" + (1 << 60).to_bytes(8, "little") + b"x.", "damaged or cut short"),
    "bytes of terabytes": (b"\x80\x04\x8e" + (1 << 40).to_bytes(8, "little") + b"x.", "damaged or cut short"),
    "an integer of megabytes": (
        held(b"\x8b" + (1 << 20).to_bytes(4, "little") + b"\x7f" * (1 << 20)),
        "the opcode LONG4",
    ),
    "an opcode across a frame": (
        b"\x80\x04\x95" + (3).to_bytes(8, "little") + text("abc") + b".",
        "does not keep to its frames",
    ),
    "a frame in a frame": (
        b"\x80\x04" + (b"\x95" + (60).to_bytes(8, "little")) * 2 + b"}.",
        "does not keep to its frames",
    ),
    "a frame of exabytes": (b"\x80\x04\x95" + (1 << 62).to_bytes(8, "little") + b"}.", "it is damaged: "),
    "an unknown opcode": (b"\x80\x02\xff.", "its pickle is damaged or cut short"),
    "text that is not UTF-8": (b"\x80\x02X\x01\0\0\0\xff.", "its pickle is damaged or cut short"),
    "protocol 9": (b"\x80\x09}.", "its pickle is of protocol 9"),
    "an end without a value": (b"\x80\x02.", "the opcode STOP with too little before it"),
    "a mark that is missing": (b"\x80\x02NNt.", "the opcode TUPLE with too little before it"),
    "a value under a mark": (b"\x80\x02N(\x85.", "the opcode TUPLE1 with too little before it"),
    "an item for a tuple": (b"\x80\x02)" + text("a") + b"Ns.", "sets an item of what is no dict"),
    "an element for a dict": (b"\x80\x02}Na.", "appends to what is no list"),
    "a key without a value": (b"\x80\x02}(" + text("a") + b"u.", "it is damaged: 'odd number of items"),
    "a set": (held(b"\x8f"), "the opcode EMPTY_SET"),
    "a buffer that is elsewhere": (b"\x80\x05\x97.", "the opcode NEXT_BUFFER"),
    "a shape of terabytes": (
        held(array((10**12,))),
        r"its 'features.conv0.weight' has 8 bytes and the shape \[1000000000000\], which takes 4000000000000",
    ),
    "a shape of 100 digits": (held(array((10**36,))), "its 'features.conv0.weight' has no shape that a parameter has"),
    "a shape of a million": (held(array((1,) * 100_000, content="\0" * 4)), "has no shape that a parameter has"),
    "a negative shape": (held(array((-2, -1))), "its 'features.conv0.weight' has no shape that a parameter has"),
    "a shape of texts": (
        held(array(dtype=DTYPE)[:-1].replace(number(2), text("2")) + b"b"),
        "has no shape that a parameter has",
    ),
    "too few bytes": (held(array((3,))), r"has 8 bytes and the shape \[3\], which takes 12"),
    "too many bytes": (held(array((1,))), r"has 8 bytes and the shape \[1\], which takes 4"),
    "objects": (held(array(dtype=DTYPE.replace(b"f4", b"O8"))), "is of the numpy type 'O8', which is none of numbers"),
    "records": (held(array(dtype=DTYPE.replace(b"f4", b"V4"))), "is of the numpy type 'V4'"),
    "complex numbers": (held(array((1,), DTYPE.replace(b"f4", b"c8"))), "is of the numpy type 'c8'"),
    "a type that is code": (held(array(dtype=call("numpy:dtype", text("f4,O")))), "is of the numpy type 'f4,O'"),
    "no type": (held(array(dtype=b"N")), "is of the numpy type 'None'"),
    "a byte order of its own": (held(array(dtype=DTYPE + DTYPE_STATE.replace(b"<", b"!"))), "it is damaged: "),
    "objects in a list": (held(array(content=b"]")), r"has 0 bytes and the shape \[2\]"),
    "an array without a state": (held(array()[: array().index(b"R(J\x01") + 1]), "is of the numpy type 'None'"),
    "an array in a list": (held(b"]" + array() + b"a"), "its 'features.conv0.weight' is of type list, not a tensor"),
    "a number": (b"\x80\x02K\x01.", "it holds a value of type int, not tensors by name"),
    "an array alone": (b"\x80\x02" + array() + b".", "it holds a value of type Array, not tensors by name"),
    "nothing": (b"\x80\x02}.", "it holds no tensors"),
    "keys that are numbers": (held(array(), number(1)), "it has a key of type int, not a name"),
    "keys that are tuples": (held(array(), number(1) + b"\x85"), "it has a key of type tuple, not a name"),
    "keys that cannot be": (held(array(), b"]"), "it is damaged: \"unhashable type: 'list'\""),
    "half a surrogate in a key": (held(array(), text("\ud800")), r"names than a DenseNet or DPN: '\\ud800'"),
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
def test_what_is_written_here_by_hand_can_be_good(content, tmp_path):
    """The parts that the hostile files are put together from are those of files that are read."""
    (tmp_path / "weights").write_bytes(content)
    with watched():
        _, tensors = files.read(tmp_path / "weights")
    assert list(tensors) == ["a"]
    assert torch.equal(tensors["a"], torch.zeros(len(tensors["a"])))
    assert events == []


@pytest.mark.parametrize(("content", "sentence"), PICKLES.values(), ids=PICKLES)
def test_a_pickle_that_is_no_paddle_file(content, sentence, tmp_path):
    """Nothing is looked up, made or counted out; the sentence says what is wrong."""
    (tmp_path / "weights.pdparams").write_bytes(content)
    assert_says(refused(tmp_path / "weights.pdparams")[0], sentence)


def assert_says(found, pattern):
    """The sentence has the pattern."""
    assert re.search(pattern, found), found


ZIP_BOMB = (("archive/data/0", bytes(64 << 20)),)
BIG = (1 << 40, "its storage '0' has not the 4398046511104 bytes that its pickle says")
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
    "a state for a tensor": (in_zip(held(tensor() + b"}b")), "gives a state to torch._utils._rebuild_tensor_v2"),
    "a call of a storage": (
        in_zip(held(call("torch:FloatStorage", number(1 << 33)))),
        "its pickle calls torch.FloatStorage",
    ),
    "a storage of code": (
        in_zip(held(group(text("module"), text("net.py")) + b"Q")),
        "refers to data that is no storage",
    ),
    "a storage of a name": (in_zip(held(text("storage") + b"Q")), "refers to data that is no storage"),
    "a storage of fewer bytes": (
        in_zip(held(tensor(storage(elements=100)))),
        "its storage '0' has not the 400 bytes that its pickle says",
    ),
    "a storage of terabytes": (in_zip(held(tensor(storage(elements=BIG[0])))), BIG[1]),
    "a storage that is missing": (in_zip(held(tensor(storage(key="7")))), "its storage '7' has not the 16 bytes"),
    "a storage elsewhere": (
        in_zip(held(tensor(storage(key="../../etc")))),
        r"its storage '../../etc' has not the 16 bytes",
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
        "its storages have not the length that its pickle says",
    ),
    "a legacy storage that is not listed": (
        legacy(held(tensor(storage(end=b"N"))), keys=()),
        "its list of storages is not of those that it uses",
    ),
    "a legacy storage that is listed twice": (
        legacy(held(tensor(storage(end=b"N"))), keys=("0", "0")),
        "its list of storages is not of those that it uses",
    ),
    "a legacy view of a storage": (
        legacy(held(tensor(storage(end=group(text("1"), number(0), number(1)))))),
        "refers to data that is no storage",
    ),
    "a legacy storage of another length": (
        legacy(held(tensor(storage(end=b"N"))), storages=((3).to_bytes(8, "little") + bytes(16),)),
        "it is damaged: ",
    ),
    "a compressed record": (
        in_zip(held(tensor()), method=zipfile.ZIP_DEFLATED),
        "a compressed record 'archive/data.pkl', and torch",
    ),
    "a bomb": (in_zip(held(tensor()), ZIP_BOMB, zipfile.ZIP_BZIP2), "a compressed record 'archive/data.pkl'"),
    "records out of the folder": (
        in_zip(held(tensor()), (("../../../etc/cron.d/x", b"x"),)),
        r"its zip has a record '../../../etc/cron.d/x', which is not in the folder of the others",
    ),
    "records above the folder": (in_zip(held(tensor()), (("archive/../../x", b"x"),)), "a record 'archive/../../x'"),
    "records twice": (
        in_zip(held(tensor()), (("archive/data/0", bytes(16)), ("archive/DATA/0", b""))),
        "its zip has a record twice",
    ),
    "records without end": (
        in_zip(held(tensor())).replace(b"", b"")[:-22] + b"PK\x01\x02" * 20_001 + b"PK\x05\x06" + bytes(18),
        "its zip has more than 20000 records",
    ),
    "records without a pickle": (in_zip(b"x", name="archive/readme"), "it is a zip, but not one of torch.save"),
    "a program of TorchScript": (
        in_zip(held(tensor()), (("archive/constants.pkl", b"x"),)),
        "it is a TorchScript program",
    ),
    "a directory that lies": (in_zip(held(tensor()))[:-6] + b"\xff\xff\xff\x00\x00\x00", "it is damaged: "),
    "a changed value": (
        in_zip(held(tensor()), (("archive/data/0", b"0123" * 4),)).replace(b"0123", b"0124", 1),
        "its record 'archive/data/0' was changed since it was saved",
    ),
    "a changed pickle": (in_zip(held(tensor())).replace(b"conv0", b"conv1", 1), 'it is damaged: "Bad CRC-32'),
    "a pickle of protocol 4": (
        in_zip(b"\x80\x04\x95" + (9).to_bytes(8, "little") + b"}\x94\x8c\x01aNs."),
        "it is damaged: ",
    ),
}


@pytest.mark.parametrize(("content", "sentence"), TORCH_FILES.values(), ids=TORCH_FILES)
def test_a_file_that_torch_does_not_write(content, sentence, tmp_path):
    """What torch's own reader would do with it is not left to it."""
    (tmp_path / "weights.pth").write_bytes(content)
    assert_says(refused(tmp_path / "weights.pth")[0], sentence)


def test_records_of_the_same_bytes(tmp_path):
    """A thousand entries of a zip's directory for one megabyte would be a gigabyte in memory."""
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
def test_real_programs_of_torch(tmp_path):
    """A module that was saved whole, and a TorchScript archive."""
    module = torch.nn.Sequential(torch.nn.Linear(2, 2))
    torch.save(module, tmp_path / "whole.pth")
    assert refused(tmp_path / "whole.pth")[0] == f"it names torch.nn.modules.container.Sequential, {EXECUTED}"
    torch.jit.save(torch.jit.trace(module, torch.ones(1, 2)), tmp_path / "script.pt")
    sentence, hint = refused(tmp_path / "script.pt")
    assert sentence == "it is a TorchScript program"
    assert "torch.jit.load" in hint


def safetensors_file(header, data=b""):
    """A header as it is given, and data."""
    text_ = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text_).to_bytes(8, "little") + text_ + data


def entry(start, end, shape=(4,), dtype="F32"):
    """A tensor in the header of safetensors."""
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


SAFETENSORS = {
    "a header longer than the file": ((500).to_bytes(8, "little") + b"{}", "its header has 500 bytes, and the file 10"),
    "a header of gigabytes": ((1 << 31).to_bytes(8, "little") + b"{}", "its header has 2147483648 bytes"),
    "overlapping tensors": (safetensors_file({"a": entry(0, 16), "b": entry(8, 24)}, bytes(24)), "it is damaged: .*nvalid"),
    "tensors out of the file": (safetensors_file({"a": entry(0, 1 << 40, (1 << 38,))}, bytes(16)), "it is damaged: "),
    "a shape of another size": (safetensors_file({"a": entry(0, 16, (1 << 40, 1 << 40))}, bytes(16)), "it is damaged: "),
    "a key twice": (b"", "it is damaged: "),
    "no JSON": (safetensors_file(b"{not json}"), "it is damaged: .*header"),
    "JSON without end": (safetensors_file(b'{"a":' * 10_000), "it is damaged: "),
    "JSON that is not UTF-8": (safetensors_file(b'{"\xff": 1}'), "it is damaged: "),
    "another type": (safetensors_file({"a": entry(0, 16, dtype="CODE")}, bytes(16)), "it is damaged: "),
    "numbers in 8 bits": (safetensors_file({"a": entry(0, 4, dtype="F8_E4M3")}, bytes(4)), "its 'a' holds float8_e4m3fn values"),
    "complex numbers": (safetensors_file({"a": entry(0, 8, (1,), dtype="C64")}, bytes(8)), "its 'a' holds complex64 values"),
    "nothing": (safetensors_file({}), "it holds no tensors"),
    "escapes in a key": (safetensors_file({"\x1b[2J": entry(0, 16)}, bytes(16)), r"'\\x1b\[2J'"),
}  # fmt: skip
TWICE = json.dumps({"a": entry(0, 16)})[:-1] + ', "a": ' + json.dumps(entry(16, 32)) + "}"
SAFETENSORS["a key twice"] = (safetensors_file(TWICE.encode(), bytes(32)), "it is damaged: ")


@pytest.mark.parametrize(("content", "sentence"), SAFETENSORS.values(), ids=SAFETENSORS)
def test_a_file_that_is_no_safetensors(content, sentence, tmp_path):
    """The library refuses it, or we do."""
    (tmp_path / "model.safetensors").write_bytes(content)
    assert_says(refused(tmp_path / "model.safetensors")[0], sentence)


@pytest.mark.parametrize(
    ("container", "sentence"),
    [
        ("torch zip", "its zip has no end, so it was cut short"),
        ("torch legacy", "its storages have not the length that its pickle says, so it was cut short or changed"),
        ("safetensors", "it is damaged: "),
        ("Paddle pickle 2", "its pickle is damaged or cut short"),
        ("Paddle pickle 4", "its pickle is damaged or cut short"),
    ],
)
@pytest.mark.parametrize("part", [0.02, 0.5, 0.999])
def test_a_download_that_stopped(container, sentence, part, tmp_path):
    """Near the beginning, in the middle and before the end."""
    state = state_dict(TINY_DENSENET)
    path = write(tmp_path / "weights", as_paddle(TINY_DENSENET, state) if container[0] == "P" else state, container)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    found, _ = refused(path)
    early = container in {"torch legacy", "safetensors"} and part < 0.1
    assert_says(found, "cut short|its header has" if early else sentence)


OTHER_FILES = {
    "empty": (b"", "it is empty"),
    "one byte": (b"\x80", "its pickle is damaged or cut short"),
    "text": (b"densenet121\n", "it is neither torch's, safetensors' nor Paddle's"),
    "a page": (b"<!DOCTYPE html><html>404", "it is a web page, as a download that failed leaves it"),
    "XML": (b"\n <?xml version='1.0'?><Error/>", "it is a web page, as a download that failed leaves it"),
    "git-lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "it is a pointer of git-lfs"),
    "zip of other things": (in_zip(b"x", (), name="photo.jpg"), "it is a zip, but not one of torch.save"),
    "end of a zip": (b"PK\x03\x04" + b"PK\x05\x06" + bytes(18), "it is a zip, but not one of torch.save"),
    "zeros": (bytes(1000), "it is neither torch's"),
    "noise": (np.random.default_rng(0).bytes(1000), "it is neither torch's"),
    "ONNX": (b"\x08\x08\x12\x07pytorch", "it is neither torch's"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "it is neither torch's"),
}


@pytest.mark.parametrize(("content", "sentence"), OTHER_FILES.values(), ids=OTHER_FILES)
def test_a_file_of_something_else(content, sentence, tmp_path):
    """It is said what it is, where that helps."""
    (tmp_path / "weights.pth").write_bytes(content)
    assert_says(refused(tmp_path / "weights.pth")[0], sentence)


def test_what_is_no_file(tmp_path):
    """A folder, a pipe, a device, nothing, and a file of gigabytes."""
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(3 << 30)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert refused(tmp_path)[0] == "it is a folder"
    assert refused(tmp_path / "pipe")[0] == "it is no file but a device or a pipe"
    assert refused(tmp_path / "missing")[0] == "no such file or directory"
    assert refused(tmp_path / "loop")[0] == "too many levels of symbolic links"
    assert refused(tmp_path / "large")[0] == "it has 3.2 GB, and no network here takes 0.4"


def test_the_name_of_a_file_is_shown_safely(tmp_path):
    """Names of files come out of archives as well."""
    path = tmp_path / "dpn92\x1b[2J.pth"
    path.write_bytes(b"x")
    with pytest.raises(WeightsUnusable, match=r"dpn92\\x1b\[2J\.pth") as caught:
        load(TINY_DENSENET, path)
    assert str(caught.value).isprintable()


def changed(**values):
    """The state with some of its values changed, `_` for a dot and None for none."""

    def change(state):
        state = {key: value.clone() for key, value in state.items()}
        for name, value in values.items():
            key = name.replace("__", ".")
            if value is None:
                del state[key]
            else:
                state[key] = value(state[key]) if callable(value) else value
        return state

    return change


def with_value(value):
    """A function that sets the third number."""

    def change(tensor_):
        tensor_.flatten()[2] = value
        return tensor_

    return change


CONV = "'features.conv0.weight'"
STATES = {
    "NaN": (changed(features__conv0__weight=with_value(float("nan"))), f"it has values that are not finite in {CONV}"),
    "infinity": (changed(features__norm0__bias=with_value(float("inf"))), "not finite in 'features.norm0.bias'"),
    "minus infinity": (changed(classifier__bias=with_value(-float("inf"))), "not finite in 'classifier.bias'"),
    "too large for fp32": (changed(classifier__bias=lambda value: value.double() * 1e300), "not finite in 'classifier.bias'"),
    "a negative variance": (changed(features__norm0__running_var=with_value(-1e-9)), "it has negative variances in 'features.norm0.running_var'"),
    "a missing key": (changed(features__norm0__running_var=None), "it has nothing for 'features.norm0.running_var' of tinydense"),
    "many missing keys": (lambda state: {CONV[1:-1]: state[CONV[1:-1]]}, r"it has nothing for 'features.norm0.weight', 'features.norm0.bias', 'features.norm0.running_mean' and \d+ more of tinydense"),
    "a key too many": (changed(features__conv9__weight=torch.ones(1)), "it has 'features.conv9.weight', which tinydense has not"),
    "a key with escapes": (lambda state: {**state, "features.\x1b[31m": torch.ones(1)}, r"it has 'features.\\x1b\[31m', which"),
    "another shape": (changed(features__conv0__weight=lambda value: value[:, :1]), rf"its {CONV} has the shape \[8, 1, 7, 7\], and that of tinydense \[8, 3, 7, 7\]"),
    "a transposed classifier": (changed(classifier__weight=lambda value: value.t().contiguous()), r"its 'classifier.weight' has the shape \[\d+, 1000\], and that of tinydense \[1000, \d+\]"),
    "other classes": (changed(classifier__weight=lambda value: value[:10], classifier__bias=lambda value: value[:10]), r"its 'classifier.(weight|bias)' has the shape \[10[,\]]"),
    "integers": (changed(features__conv0__weight=lambda value: value.int()), f"its {CONV} holds int32, not float32"),
    "booleans": (changed(features__conv0__weight=lambda value: value > 0), f"its {CONV} holds bool, not float32"),
    "a counter of floats": (changed(features__norm0__num_batches_tracked=torch.tensor(1.0)), "its 'features.norm0.num_batches_tracked' holds float32, not int64"),
    "another network": (lambda _: state_dict(BY_NAME["tinydpn"]), "it has nothing for 'features.conv0.weight'"),
    "names of another family": (lambda _: {"conv1.weight": torch.ones(1), "fc.bias": torch.ones(1)}, "it has other names than a DenseNet or DPN: 'conv1.weight', 'fc.bias'"),
}  # fmt: skip


@pytest.mark.parametrize("container", ["torch zip", "safetensors"])
@pytest.mark.parametrize(("change", "sentence"), STATES.values(), ids=STATES)
def test_parameters_that_do_not_fit(change, sentence, container, tmp_path):
    """Names, shapes, types and values, in the file's own words."""
    path = write(tmp_path / "weights", change(state_dict(TINY_DENSENET)), container)
    assert_says(refused(path)[0], sentence)


TORCH_STATES = {
    "complex numbers": (lambda value: value.to(torch.complex64), f"its {CONV} holds complex64 values"),
    "a sparse tensor": (lambda value: value.to_sparse(), "it holds a sparse tensor"),
    "a compressed sparse tensor": (lambda value: value.flatten(1).to_sparse_csr(), "it holds a sparse tensor"),
    "a quantized tensor": (lambda value: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8), "it holds a quantized tensor"),
    "a tensor without values": (lambda value: value.to("meta"), "it holds a tensor without values"),
    "numbers in 8 bits": (lambda value: value.to(torch.float8_e5m2), "it names torch._utils._rebuild_tensor_v3"),
    "a tensor of a kind": (lambda value: value.as_subclass(Own), "it holds a tensor of a class of its own"),
    "a number": (lambda _: 1.0, f"its {CONV} is of type float, not a tensor"),
    "None": (lambda _: None, f"its {CONV} is of type NoneType, not a tensor"),
    "a dict": (lambda _: {"a": 1}, f"its {CONV} is of type dict, not a tensor"),
    "a negative view": (torch._neg_view, f"its {CONV} is not a plain tensor"),  # noqa: SLF001
    "an array": (lambda value: value.numpy(), "it names numpy.core.multiarray._reconstruct"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", [row[0] for row in TORCH_STATES.values()], ids=TORCH_STATES)
def test_only_plain_tensors_pass(make):
    """Whatever a reader of files may come to let through."""
    with pytest.raises(Refused, match=r"^its 'key' "):
        files.tensor("key", make(torch.ones(2, 3)))


class Own(torch.Tensor):
    """A class of tensors of this file's."""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("container", ["torch zip", "torch legacy"])
@pytest.mark.parametrize(("change", "sentence"), TORCH_STATES.values(), ids=TORCH_STATES)
def test_what_torch_saves_besides_dense_floats(change, sentence, container, tmp_path):
    """Tensors of other kinds, and no tensors at all."""
    state = state_dict(TINY_DENSENET)
    key = CONV[1:-1]
    path = write(tmp_path / "weights", {**state, key: change(state[key])}, container)
    assert_says(refused(path)[0], sentence)


PADDLE_STATES = {
    "a missing key": (lambda state: state.pop("conv1_func._conv.weight"), f"it has nothing for {CONV} of tinydense"),
    "a key too many": (
        lambda state: state.update({"db_conv_2.conv2_9.bn_ac_func1._conv.weight": torch.ones(1)}),
        "it has 'db_conv_2.conv2_9.bn_ac_func1._conv.weight', which tinydense has not",
    ),
    "a classifier as torch has it": (
        lambda state: state.update({"out.weight": state["out.weight"].t().contiguous()}),
        r"its 'out.weight' has the shape \[1000, \d+\], and that of tinydense \[\d+, 1000\]",
    ),
    "a negative variance": (
        lambda state: state["batch_norm._variance"].sub_(10),
        "it has negative variances in 'batch_norm._variance'",
    ),
    "bfloat16 as Paddle writes it": (
        lambda state: state.update({"out.bias": state["out.bias"].numpy().view(np.uint16)[::2]}),
        "its 'out.bias' holds uint16, not float32",
    ),
    "a text": (lambda state: state.update({"out.bias": "x"}), "its 'out.bias' is of type str, not a tensor"),
}


@pytest.mark.parametrize(("change", "sentence"), PADDLE_STATES.values(), ids=PADDLE_STATES)
def test_paddle_parameters_that_do_not_fit(change, sentence, tmp_path):
    """The sentence has PaddleClas's names."""
    state = as_paddle(TINY_DENSENET, state_dict(TINY_DENSENET))
    change(state)
    assert_says(refused(write(tmp_path / "weights", state, "Paddle pickle 4"))[0], sentence)


def test_a_parameter_under_two_names(tmp_path):
    """The old name and the new one."""
    state = state_dict(TINY_DENSENET)
    path = write(tmp_path / "weights", {**as_old_torchvision(state), **state}, "torch zip")
    assert refused(path)[0] == "it has a parameter under two names"


@pytest.mark.parametrize(
    ("held_", "chosen", "container"),
    [
        ("densenet121", "densenet169", "torch zip"),
        ("densenet121", "dpn68", "safetensors"),
        ("densenet121", "densenet201", "Paddle pickle 4"),
        ("dpn68", "dpn92", "Paddle pickle 4"),
    ],
)
def test_a_file_of_another_network_is_told(held_, chosen, container, tmp_path):
    """The sentence names the network that the file fits."""
    network = BY_NAME[held_]
    state = state_dict(network)
    path = write(tmp_path / "weights", as_paddle(network, state) if container[0] == "P" else state, container)
    sentence, hint = refused(path, BY_NAME[chosen])
    assert sentence == f"it fits {held_}, not {chosen}"
    assert f"--models {held_}" in hint


def test_a_network_of_ones_own_has_its_parameters(tmp_path):
    """There is nothing to compare a file with."""
    from generator.errors import BadOption

    with pytest.raises(BadOption, match="mine is a network of your own"):
        load(Network("mine", "Mine", TorchNetwork(lambda: None, ()), None), tmp_path / "weights")


def test_changed_bytes_are_refused_or_harmless(tmp_path):
    """A byte changed anywhere in the head of a file ends in a network or in one sentence, never in a traceback."""
    generator = np.random.default_rng(0)
    state = state_dict(TINY_DENSENET)
    for container in (
        "torch zip",
        "torch legacy",
        "safetensors",
        "Paddle pickle 2",
        "Paddle pickle 4",
        "Paddle pickle 5",
    ):
        path = write(tmp_path / "weights", as_paddle(TINY_DENSENET, state) if container[0] == "P" else state, container)
        content = path.read_bytes()
        for _ in range(25):
            broken = bytearray(content)
            broken[generator.integers(min(len(broken), 3000))] = generator.integers(256)
            path.write_bytes(broken)
            with watched(), contextlib.suppress(WeightsUnusable):
                load(TINY_DENSENET, path)
            assert events == []
