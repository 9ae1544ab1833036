"""Valid files whose names, shapes, types or values do not fit the network."""

import numpy as np
import pytest
import torch
from hostile_weights import assert_says, refused
from weights_samples import (
    BY_NAME,
    TINY_DENSENET,
    as_old_torchvision,
    as_paddle,
    state_dict,
    write,
)

from generator.networks.types import Network
from generator.networks.user_networks import TorchNetwork
from generator.weights import containers
from generator.weights.load import load
from generator.weights.pickle_scan import Refused

pytestmark = pytest.mark.usefixtures("warm_weights")


def changed(**values):
    """Return a function that changes entries of a state dict: `__` is a dot, None deletes."""

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
    """Return a function that sets the third number of a tensor."""

    def change(tensor_):
        tensor_.flatten()[2] = value
        return tensor_

    return change


CONV = "'features.conv0.weight'"
STATES = {
    "NaN": (changed(features__conv0__weight=with_value(float("nan"))), f"it has NaN or infinite values in {CONV}"),
    "infinity": (changed(features__norm0__bias=with_value(float("inf"))), "infinite values in 'features.norm0.bias'"),
    "minus infinity": (changed(classifier__bias=with_value(-float("inf"))), "infinite values in 'classifier.bias'"),
    "too large for fp32": (changed(classifier__bias=lambda value: value.double() * 1e300), "infinite values in 'classifier.bias'"),
    "a negative variance": (changed(features__norm0__running_var=with_value(-1e-9)), "it has negative variances in 'features.norm0.running_var'"),
    "a missing key": (changed(features__norm0__running_var=None), "it lacks 'features.norm0.running_var' of tinydense"),
    "many missing keys": (lambda state: {CONV[1:-1]: state[CONV[1:-1]]}, r"it lacks 'features.norm0.weight', 'features.norm0.bias', 'features.norm0.running_mean' and \d+ more of tinydense"),
    "a key too many": (changed(features__conv9__weight=torch.ones(1)), "it has 'features.conv9.weight', which tinydense does not have"),
    "a key with escapes": (lambda state: {**state, "features.\x1b[31m": torch.ones(1)}, r"it has 'features.\\x1b\[31m', which"),
    "another shape": (changed(features__conv0__weight=lambda value: value[:, :1]), rf"its {CONV} has the shape \[8, 1, 7, 7\], but tinydense needs \[8, 3, 7, 7\]"),
    "a transposed classifier": (changed(classifier__weight=lambda value: value.t().contiguous()), r"its 'classifier.weight' has the shape \[\d+, 1000\], but tinydense needs \[1000, \d+\]"),
    "other classes": (changed(classifier__weight=lambda value: value[:10], classifier__bias=lambda value: value[:10]), r"its 'classifier.(weight|bias)' has the shape \[10[,\]]"),
    "integers": (changed(features__conv0__weight=lambda value: value.int()), f"its {CONV} holds int32, not float32"),
    "booleans": (changed(features__conv0__weight=lambda value: value > 0), f"its {CONV} holds bool, not float32"),
    "a counter of floats": (changed(features__norm0__num_batches_tracked=torch.tensor(1.0)), "its 'features.norm0.num_batches_tracked' holds float32, not int64"),
    "another network": (lambda _: state_dict(BY_NAME["tinydpn"]), "it lacks 'features.conv0.weight'"),
    "names of another family": (lambda _: {"conv1.weight": torch.ones(1), "fc.bias": torch.ones(1)}, "its parameters are not those of a DenseNet or DPN: 'conv1.weight', 'fc.bias'"),
}  # fmt: skip


@pytest.mark.parametrize("container", ["torch zip", "safetensors"])
@pytest.mark.parametrize(("change", "sentence"), STATES.values(), ids=STATES)
def test_unfitting_parameters_are_refused(change, sentence, container, tmp_path):
    """The error quotes the file's names."""
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
def test_only_plain_tensors_are_accepted(make):
    """The check does not depend on the reader of the file."""
    with pytest.raises(Refused, match=r"^its 'key' "):
        containers.tensor("key", make(torch.ones(2, 3)))


class Own(torch.Tensor):
    """A subclass of tensors."""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("container", ["torch zip", "torch legacy"])
@pytest.mark.parametrize(("change", "sentence"), TORCH_STATES.values(), ids=TORCH_STATES)
def test_other_values_in_a_torch_file_are_refused(change, sentence, container, tmp_path):
    """Tensors of other kinds and values that are not tensors are refused."""
    state = state_dict(TINY_DENSENET)
    key = CONV[1:-1]
    path = write(tmp_path / "weights", {**state, key: change(state[key])}, container)
    assert_says(refused(path)[0], sentence)


PADDLE_STATES = {
    "a missing key": (lambda state: state.pop("conv1_func._conv.weight"), f"it lacks {CONV} of tinydense"),
    "a key too many": (
        lambda state: state.update({"db_conv_2.conv2_9.bn_ac_func1._conv.weight": torch.ones(1)}),
        "it has 'db_conv_2.conv2_9.bn_ac_func1._conv.weight', which tinydense does not have",
    ),
    "a classifier as torch has it": (
        lambda state: state.update({"out.weight": state["out.weight"].t().contiguous()}),
        r"its 'out.weight' has the shape \[1000, \d+\], but tinydense needs \[\d+, 1000\]",
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
def test_unfitting_paddle_parameters_are_refused(change, sentence, tmp_path):
    """The error quotes PaddleClas's names."""
    state = as_paddle(TINY_DENSENET, state_dict(TINY_DENSENET))
    change(state)
    assert_says(refused(write(tmp_path / "weights", state, "Paddle pickle 4"))[0], sentence)


def test_parameter_under_two_names_is_refused(tmp_path):
    """A file with the old and the new name is ambiguous."""
    state = state_dict(TINY_DENSENET)
    path = write(tmp_path / "weights", {**as_old_torchvision(state), **state}, "torch zip")
    assert refused(path)[0] == "it has one parameter under two names"


@pytest.mark.parametrize(
    ("held_", "chosen", "container"),
    [
        ("densenet121", "densenet169", "torch zip"),
        ("densenet121", "dpn68", "safetensors"),
        ("densenet121", "densenet201", "Paddle pickle 4"),
        ("dpn68", "dpn92", "Paddle pickle 4"),
    ],
)
def test_file_of_another_network_is_recognised(held_, chosen, container, tmp_path):
    """The error names the network that the file fits."""
    network = BY_NAME[held_]
    state = state_dict(network)
    path = write(tmp_path / "weights", as_paddle(network, state) if container[0] == "P" else state, container)
    sentence, hint = refused(path, BY_NAME[chosen])
    assert sentence == f"it fits {held_}, not {chosen}"
    assert f"`models={held_}`" in hint


def test_own_network_takes_no_weights_file(tmp_path):
    """A network of the user's own has its parameters already."""
    from generator.errors import BadValue

    with pytest.raises(BadValue, match="mine is a network of your own"):
        load(Network("mine", "Mine", TorchNetwork(lambda: None, ()), None), tmp_path / "weights")
