"""Weights files with calls: each is refused, and nothing in it runs."""

import copyreg
import ctypes
import functools
import importlib
import io
import os
import pickle
import runpy
import subprocess
import timeit

import numpy as np
import pytest
import torch
from helpers import eventually
from hostile_weights import EXECUTED, assert_says, events, refused, watched
from weights_samples import (
    TINY_DENSENET,
    Call,
    as_paddle,
    paddle_content,
    state_dict,
    write,
)

from generator.weights import containers, paddle_pickle, pickle_scan, torch_file
from generator.weights.load import load
from generator.weights.pickle_scan import Refused

pytestmark = pytest.mark.usefixtures("warm_weights")


def payloads(folder):
    """Return calls by their names in a pickle; the calls of the first table create a marker file."""
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
    """Return the marker's path, the calls that create it, and other calls."""
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
def test_payloads_work_without_the_defence(name, calls):
    """Plain pickle runs each call: the marker exists, and the audit hook has seen the call."""
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
def test_calls_are_refused(name, container, calls, tmp_path):
    """The message names the function, and the marker does not exist."""
    marker, marking, others = calls
    path = write(tmp_path / "weights", {"features.conv0.weight": {**marking, **others}[name]}, container)
    sentence, hint = refused(path)
    assert sentence.removeprefix("it names ").startswith((name, PYTHON_2.get(name, name)))
    assert sentence.endswith(f", {EXECUTED}")
    assert "save tensors only: " in hint
    assert ("paddle.save" in hint) == container.startswith("Paddle")
    assert not marker.exists()


@pytest.mark.parametrize("name", MARKING)
def test_scan_and_unpickler_each_refuse(name, calls):
    """The scan refuses alone, and so does the unpickler without a scan."""
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
def test_torch_refuses_without_the_scan(name, container, calls, tmp_path, monkeypatch):
    """Without the scan, torch's unpickler still refuses."""
    marker, marking, _ = calls
    path = write(tmp_path / "weights", {"a": marking[name]}, container)
    monkeypatch.setattr(torch_file, "walk", lambda *_: (pickle_scan.Thing("list"), []))
    if container == "torch legacy":
        monkeypatch.setattr(
            containers, "CONTAINERS", (containers.Container("", lambda _: True, torch_file.torch_load),)
        )
    assert_says(refused(path)[0], "it is damaged: .*(Unsupported|GLOBAL|Weights only)")
    assert not marker.exists()


def test_numpy_functions_are_not_called(tmp_path, monkeypatch):
    """A good file loads even if numpy's functions that its pickle names are broken."""
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
