"""Weights files of each publisher and format load with the values that were saved."""

import hashlib
import math
import pickle

import numpy as np
import pytest
import torch
from weights_samples import (
    BY_NAME,
    PADDLE,
    TINY_DENSENET,
    TINY_DPN,
    TORCH,
    as_old_torchvision,
    as_paddle,
    big_endian,
    paddle_content,
    paddle_names,
    state_dict,
    write,
)

from generator.errors import BadValue
from generator.networks import NETWORKS, select
from generator.networks.architectures import DPNShape
from generator.system.native import torch_threads
from generator.types import Preprocessing
from generator.weights import containers
from generator.weights.files import find
from generator.weights.load import load
from generator.weights.naming import PADDLECLAS

TRANSFORMED = Preprocessing(mean=(124 / 255, 117 / 255, 104 / 255), std=(1 / (0.0167 * 255),) * 3)
EVERY_WAY = [("torch", container) for container in TORCH] + [("paddleclas", container) for container in PADDLE]
# The two smallest of the ten and two tiny networks in every way, the others in one way each.
CASES = [
    *((name, *way) for name in ("tinydense", "tinydpn", "densenet121", "dpn68") for way in EVERY_WAY),
    ("densenet161", "torch", "torch legacy"),
    ("densenet169", "paddleclas", "Paddle pickle 2"),
    ("densenet201", "torch", "safetensors"),
    ("densenet264", "paddleclas", "Paddle pickle 4"),
    ("dpn92", "torch", "safetensors"),
    ("dpn98", "paddleclas", "Paddle pickle 3"),
    ("dpn107", "torch", "torch zip"),
    ("dpn131", "paddleclas", "safetensors"),
]


@pytest.fixture(autouse=True)
def _one_thread():
    """Use one thread, since tests share the processors."""
    with torch_threads(1):
        yield


@pytest.fixture(name="state", scope="module")
def _state():
    """Return a network's parameters by its name, and cache those of the last network."""
    kept = {}

    def of(name):
        if name not in kept:
            kept.clear()
            kept[name] = state_dict(BY_NAME[name])
        return kept[name]

    return of


@pytest.mark.parametrize(("name", "names", "container"), CASES, ids=lambda value: value.replace(" ", "-"))
def test_saved_parameters_load(name, names, container, state, tmp_path):
    """Each parameter is equal to the bit, with the epsilon and preprocessing of the source."""
    network, wanted = BY_NAME[name], state(name)
    dpn, paddle = isinstance(network.definition, DPNShape), names == "paddleclas"
    path = write(tmp_path / "weights", as_paddle(network, wanted) if paddle else wanted, container)

    module, weights, preprocessing = load(network, path)
    path.unlink()  # the values must be in memory

    found = module.state_dict()
    if paddle:
        wanted = {key: torch.tensor(0) if "num_batches" in key else value for key, value in wanted.items()}
    assert list(found) == list(wanted)
    assert [key for key in wanted if not torch.equal(found[key], wanted[key])] == []
    assert {value.device.type for value in found.values()} == {"cpu"}
    source = "paddleclas" if paddle else "timm" if dpn or container == "safetensors" else "torchvision"
    bn_eps = 1e-3 if dpn and not paddle else 1e-5
    assert (weights.source, weights.file, weights.bn_eps) == (source, "weights", bn_eps)
    assert {norm.eps for norm in module.modules() if isinstance(norm, torch.nn.BatchNorm2d)} == {bn_eps}
    assert preprocessing == (TRANSFORMED if dpn and not paddle else Preprocessing())
    assert not module.training


def test_timm_normalisation_of_dpn(tmp_path):
    """Mean and std match timm's model cards."""
    _, _, preprocessing = load(TINY_DPN, write(tmp_path / "weights", state_dict(TINY_DPN), "safetensors"))
    assert [round(value * 255) for value in preprocessing.mean] == [124, 117, 104]
    assert [round(value, 4) for value in preprocessing.std] == [0.2348] * 3
    assert (preprocessing.resize_short_px, preprocessing.crop_px) == (256, 224)


def test_loaded_module_and_its_provenance(tmp_path):
    """The loaded module gives the saved module's answers; the digest is the file's."""
    saved = TINY_DPN.module(bn_eps=1e-3).to_empty(device="cpu")
    saved.load_state_dict(state_dict(TINY_DPN))
    path = write(tmp_path / "dpn.pth", saved.state_dict(), "torch zip")
    module, weights, _ = load(TINY_DPN, path)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(module(images), saved(images))
    assert weights.label == "timm (dpn.pth)"
    assert not weights.random
    assert weights.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
def test_paddle_names_map_to_ours(network):
    """Each parameter has one PaddleClas name, which maps back to the parameter."""
    names = paddle_names(network)
    assert set(names) == {key for key in network.module().state_dict() if "num_batches" not in key}
    assert {ours: PADDLECLAS.rename(theirs, network) for ours, theirs in names.items()} == {n: n for n in names}


def test_paddle_classifier_is_transposed(tmp_path):
    """Row 3 of our classifier, a matrix or a convolution, is column 3 of Paddle's."""
    for network in (TINY_DENSENET, TINY_DPN):
        named = as_paddle(network, state_dict(network))
        named["out.weight"][:, 3] = torch.arange(len(named["out.weight"]))
        module, _, _ = load(network, write(tmp_path / "weights", named, "Paddle pickle 4"))
        assert torch.equal(module.classifier.weight[3].flatten(), torch.arange(len(named["out.weight"])).float())


@pytest.mark.parametrize("container", TORCH)
def test_old_torchvision_names(container, tmp_path):
    """Names such as `denselayer1.norm.1.weight` load, without counters."""
    state = state_dict(TINY_DENSENET)
    old = as_old_torchvision(state)
    assert "features.denseblock1.denselayer1.norm.1.running_var" in old
    found = load(TINY_DENSENET, write(tmp_path / "weights", old, container))[0].state_dict()
    assert all(torch.equal(found[key], state[key]) for key in state if "num_batches" not in key)
    assert all(found[key] == 0 for key in state if "num_batches" in key)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"state_dict": state},
        lambda state: {"model": state, "epoch": 90, "arch": "densenet", "optimizer": {"lr": [0.1], "betas": (0.9, 1)}},
        lambda state: {f"module.{key}": value for key, value in state.items()},
        lambda state: {"epoch": 1, "state_dict": {f"module.{key}": value for key, value in state.items()}},
        lambda state: {
            key: torch.nn.Parameter(value) if value.is_floating_point() else value for key, value in state.items()
        },
    ],
    ids=["state_dict", "model", "module.", "both", "parameters"],
)
@pytest.mark.parametrize("container", ["torch zip", "torch legacy"])
def test_checkpoints_of_training_scripts(container, wrap, tmp_path):
    """A state dict among other entries, or of a network in DataParallel, loads."""
    state = state_dict(TINY_DENSENET)
    found = load(TINY_DENSENET, write(tmp_path / "weights", wrap(state), container))[0].state_dict()
    assert all(torch.equal(found[key], state[key]) for key in state)


def test_state_dict_with_metadata(tmp_path):
    """`torch.save(model.state_dict())` saves an OrderedDict with the versions of the layers as its state."""
    module = TINY_DENSENET.module().to_empty(device="cpu")
    module.load_state_dict(state_dict(TINY_DENSENET))
    for container in ("torch zip", "torch legacy"):
        path = write(tmp_path / "weights", module.state_dict(), container)
        assert containers.parse(path, path.read_bytes())[0] == container
        assert torch.equal(load(TINY_DENSENET, path)[0].classifier.weight, module.classifier.weight)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("container", TORCH)
def test_floats_become_fp32(container, dtype, tmp_path):
    """Half and double precision files load as fp32 with the same values."""
    state = {
        key: value.to(dtype) if value.is_floating_point() else value for key, value in state_dict(TINY_DPN).items()
    }
    found = load(TINY_DPN, write(tmp_path / "weights", state, container))[0].state_dict()
    assert {value.dtype for value in found.values()} == {torch.float32, torch.int64}
    assert all(torch.equal(found[key], state[key].to(found[key].dtype)) for key in state)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(
    "change",
    [
        big_endian,
        np.asfortranarray,
        lambda array: array.astype(np.float64),
        lambda array: np.stack([array, array])[1],
    ],
    ids=["big-endian", "fortran", "fp64", "view"],
)
def test_arrays_in_every_layout(protocol, change, tmp_path):
    """Byte order, index order and precision do not change the values."""
    state = state_dict(TINY_DENSENET)
    arrays = {key: change(value.numpy()) for key, value in as_paddle(TINY_DENSENET, state).items()}
    path = tmp_path / "weights"
    path.write_bytes(paddle_content(arrays, protocol))
    found = load(TINY_DENSENET, path)[0].state_dict()
    assert all(torch.equal(found[key], state[key]) for key in state if "num_batches" not in key)


@pytest.mark.parametrize("protocol", [2, 3])
def test_numpy_2_arrays(protocol, tmp_path):
    """Numpy 2 names its functions after another module."""
    state = state_dict(TINY_DENSENET)
    content = paddle_content(as_paddle(TINY_DENSENET, state), protocol)
    assert b"cnumpy.core.multiarray\n" in content
    path = tmp_path / "weights"
    path.write_bytes(content.replace(b"cnumpy.core.multiarray\n", b"cnumpy._core.multiarray\n"))
    assert torch.equal(load(TINY_DENSENET, path)[0].classifier.bias, state["classifier.bias"])


@pytest.mark.parametrize(
    ("container", "name"), [*((c, c) for c in TORCH), *((c, c[:13] if c[0] == "P" else c) for c in PADDLE)]
)
def test_content_determines_the_format(container, name, tmp_path):
    """The suffix does not matter."""
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([math.pi])}
    path = write(tmp_path / "weights.zip", tensors, container)
    found, read = containers.parse(path, path.read_bytes())
    assert found == name
    assert list(read) == ["a", "b"]
    assert all(torch.equal(read[key], tensors[key]) for key in tensors)


def test_paddle_sample_is_correct():
    """A check of the test's samples: plain pickle returns numpy's arrays."""
    held = pickle.loads(paddle_content({"a": torch.ones(3)}, 4))  # noqa: S301
    assert isinstance(held["a"], np.ndarray)
    assert held["StructuredToParameterName@@"] == {"a": "param_0"}


# The files in a folder, and those for densenet121 and dpn92.
FOLDERS = {
    "as published": (
        ["densenet121-a639ec97.pth", "DPN92_pretrained.pdparams", "densenet169-b2777c0a.pth", "README.md"],
        ("densenet121-a639ec97.pth", "DPN92_pretrained.pdparams"),
    ),
    "plain": (["DENSENET121.PT", "dpn92.bin"], ("DENSENET121.PT", "dpn92.bin")),
    "hub": (
        [
            "densenet121.tv_in1k/model.safetensors",
            "densenet121.tv_in1k/pytorch_model.bin",
            "densenet121.tv_in1k/config.json",
            "dpn92.mx_in1k/pytorch_model.bin",
        ],
        ("densenet121.tv_in1k/model.safetensors", "dpn92.mx_in1k/pytorch_model.bin"),
    ),
    "near names": (
        [
            "densenet1210.pth",
            "densenet121d.pth",
            "densenet121.txt",
            "my-dpn92.pth",
            "densenet121_x.pth",
            "dpn92.safetensors",
        ],
        ("densenet121_x.pth", "dpn92.safetensors"),
    ),
    "a folder without weights": (
        ["densenet121/notes.txt", "densenet121.pth", "dpn92.pth/x", "dpn92.mx.safetensors"],
        ("densenet121.pth", "dpn92.mx.safetensors"),
    ),
}


def lay(folder, names):
    """Create files of these names, and their folders."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


@pytest.mark.parametrize(("names", "found"), FOLDERS.values(), ids=FOLDERS)
def test_folder_is_searched_by_name(names, found, tmp_path):
    """Letter case does not matter; text after the name does."""
    lay(tmp_path, names)
    networks = select(["densenet121", "dpn92"])
    assert find(tmp_path, networks) == dict(
        zip(("densenet121", "dpn92"), (tmp_path / name for name in found), strict=True)
    )


def test_links_are_followed(tmp_path):
    """The hub's cache has links to files with other names."""
    lay(tmp_path, ["blobs/0123", "snapshot/keep"])
    (tmp_path / "snapshot" / "dpn68.pth").symlink_to(tmp_path / "blobs" / "0123")
    assert find(tmp_path / "snapshot", select(["dpn68"])) == {"dpn68": tmp_path / "snapshot" / "dpn68.pth"}


def test_file_for_one_network_can_have_any_name(tmp_path):
    """A file that is given itself needs no special name."""
    lay(tmp_path, ["best.ckpt"])
    assert find(tmp_path / "best.ckpt", select(["dpn68"])) == {"dpn68": tmp_path / "best.ckpt"}


@pytest.mark.parametrize(
    ("names", "path", "sentence", "hint"),
    [
        (["a.pth"], "a.pth", "a file needs exactly one network (2 selected)", "`models`"),
        ([], "missing", "there is no such file or folder", None),
        ([], "", "no file for densenet121, dpn92; it is empty", "dpn92.pth"),
        (
            ["dpn92.pth", "a", "b", "c"],
            "",
            "no file for densenet121; it holds 'a', 'b', 'c' and 1 more",
            "name a file",
        ),
        (
            ["densenet121.pth", "dpn92.pth", "DPN92_pretrained.pdparams", "dpn92/model.safetensors"],
            "",
            "3 files for dpn92: 'DPN92_pretrained.pdparams', 'dpn92.pth', 'dpn92/model.safetensors'",
            "keep one",
        ),
        (["\x1b[31m.pth"], "", r"no file for densenet121, dpn92; it holds '\x1b[31m.pth'", "name a file"),
        (["x"], "x" * 300, "file name too long", None),
    ],
    ids=["two networks", "missing", "empty", "none", "several", "escapes", "too long"],
)
def test_unusable_path_is_an_error(names, path, sentence, hint, tmp_path):
    """The error says what the folder holds."""
    lay(tmp_path, names)
    with pytest.raises(BadValue) as caught:
        find(tmp_path / path, select(["densenet121", "dpn92"]))
    assert str(caught.value) == f"weights={tmp_path / path}: {sentence}"
    assert str(caught.value).isprintable()
    assert (hint is None and caught.value.hint is None) or hint in caught.value.hint
