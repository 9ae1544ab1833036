"""Networks of the user's own: a torch function, an ONNX file, or a plugin of the entry-point group."""

from __future__ import annotations

import re
import sys
import traceback
from functools import partial
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from generator.errors import BadOption, NetworkUnusable
from generator.graph.datatypes import TYPES
from generator.networks.types import ImageInput, Network, OnnxFile, Plugin, TorchNetwork
from generator.types import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import nn

GROUP = "tritongen.networks"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
INPUT = re.compile(r"(?:(?P<name>.+):)?(?P<dims>[1-9]\d*(?:x[1-9]\d*)*)(?::(?P<type>[a-z]+\d*))?")
TARGET = re.compile(r"\w+(\.\w+)*:\w+(\.\w+)*")
LARGEST_DIM = 2**31 - 1


def onnx_network(
    path: str | Path, name: str | None = None, inputs: Iterable[str] = (), image: ImageInput | None = None
) -> Network:
    """An ONNX file, under its own name unless told another; `inputs` give the dims that it leaves open."""
    specs = tuple(map(parse_input, inputs))
    dims = {spec.name: spec.dims for spec in specs}
    if len(dims) < len(specs):
        raise BadOption("--input", ",".join(spec.name for spec in specs), "each is given once, by its name")
    return network_of(Path(path).stem if name is None else name, OnnxFile(Path(path), dims, image or ImageInput()))


def torch_network(
    target: str, name: str | None = None, inputs: Iterable[str] = (), image: ImageInput | None = None
) -> Network:
    """What `package.module:function` returns, under the function's name unless told another."""
    if not TARGET.fullmatch(target):
        raise BadOption("--torch", target, "it is not package.module:function")
    specs = named(map(parse_input, inputs))
    if not specs:
        raise BadOption("--torch", target, "its input is not told", "add --input 3x224x224")
    function = re.split("[:.]", target)[-1]
    definition = TorchNetwork(partial(made_by, target), specs, image or ImageInput(), target=target)
    return network_of(function if name is None else name, definition)


def network_of(name: str, definition: TorchNetwork | OnnxFile) -> Network:
    """A network that is in no table.

    Raises:
        BadOption: the name is no folder's, or one of the table's.
    """
    from generator.networks import NETWORKS

    if not NAME.fullmatch(name):
        raise BadOption("--name", repr(name), "letters, digits, '.', '_' and '-', beginning with a letter or digit")
    if any(name.lower() == network.name for network in NETWORKS):
        raise BadOption("--name", name, "a network of tritongen's has that name", f"such as --name my-{name}")
    return Network(name.lower(), name, definition, None)


def named(inputs: Iterable[TensorSpec]) -> tuple[TensorSpec, ...]:
    """The inputs, those without a name called `input`, or `input_0`, `input_1` and so on."""
    specs = tuple(inputs)
    names = [spec.name or ("input" if len(specs) == 1 else f"input_{i}") for i, spec in enumerate(specs)]
    if len(set(names)) < len(names):
        raise BadOption("--input", ",".join(names), "each input needs a name of its own")
    return tuple(TensorSpec(name, spec.datatype, spec.dims) for name, spec in zip(names, specs, strict=True))


def parse_input(text: str) -> TensorSpec:
    """`3x224x224`, `NAME:128:int64`: the dims without the batch, fp32 unless told.

    Raises:
        BadOption: it is something else.
    """
    found = INPUT.fullmatch(text)
    datatype = f"TYPE_{(found['type'] or 'fp32').upper().replace('FLOAT', 'FP')}" if found else ""
    if found is None or datatype not in TYPES or not TYPES[datatype].torch:
        raise BadOption("--input", text, "it is not [NAME:]DIMS[:TYPE]", "such as 3x224x224 or ids:128:int64")
    dims = tuple(map(int, found["dims"].split("x")))
    if max(dims) > LARGEST_DIM:
        raise BadOption("--input", text, "a dimension is too large")
    return TensorSpec(found["name"] or "", datatype, dims)


def made_by(target: str) -> Any:  # noqa: ANN401 (whatever the function returns)
    """What the function returns."""
    return imported(target)()


def imported(target: str) -> Callable[[], Any]:
    """The function that `package.module:function` names, looked for in the current folder too.

    Raises:
        NetworkUnusable: there is none.
    """
    module_name, _, function = target.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = import_module(module_name)
    except (Exception, SystemExit) as error:
        raise NetworkUnusable(target, said(error), "it is looked for here and on PYTHONPATH") from error
    for part in function.split("."):
        if not hasattr(found, part):
            raise NetworkUnusable(target, f"{module_name} has no {part!r}")
        found = getattr(found, part)
    if not callable(found):
        raise NetworkUnusable(target, f"{function} is not a function")
    made: Callable[[], Any] = found
    return made


def plugins() -> dict[str, Network]:
    """What installed packages offer, by name; nothing of theirs is imported yet."""
    return {
        entry.name.lower(): Network(entry.name.lower(), entry.name, Plugin(entry.value, entry.load), None)
        for entry in entry_points(group=GROUP)
        if NAME.fullmatch(entry.name)
    }


def load_plugin(plugin: Plugin) -> TorchNetwork:
    """What a plugin's entry point names.

    Raises:
        NetworkUnusable: it cannot be imported, or is no TorchNetwork.
    """
    try:
        loaded = plugin.load()
    except (Exception, SystemExit) as error:
        raise NetworkUnusable(plugin.value, said(error)) from error
    if not isinstance(loaded, TorchNetwork):
        raise NetworkUnusable(
            plugin.value, f"it is of type {type(loaded).__name__}", "the entry point must name a TorchNetwork"
        )
    return loaded


def module_of(network: TorchNetwork, name: str) -> nn.Module:
    """The module that its function returns, in evaluation mode.

    Raises:
        NetworkUnusable: the function fails, or returns something else.
    """
    from torch import nn

    target = network.target or name
    try:
        module = network.create()
    except NetworkUnusable:
        raise
    except (Exception, SystemExit) as error:
        raise NetworkUnusable(target, said(error)) from error
    if not isinstance(module, nn.Module):
        raise NetworkUnusable(
            target, f"what it returned is of type {type(module).__name__}", "it must return a torch.nn.Module"
        )
    return module.eval().cpu()


def said(error: BaseException) -> str:
    """An exception of the user's code in one line: what, and where, unless that is in what imported it."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    user = [frame for frame in frames if frame.filename != __file__]
    place = f" ({Path(user[-1].filename).name}, line {user[-1].lineno})" if user else ""
    line = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {line}{place}"
