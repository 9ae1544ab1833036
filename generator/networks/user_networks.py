"""Networks of the user's own: a torch function, an ONNX file, or a plugin of the entry-point group."""

from __future__ import annotations

import dataclasses
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from generator.errors import BadValue, NetworkUnusable, TritongenError, first_line
from generator.graph.datatypes import TYPES, zeros
from generator.networks.types import BASE_BYTES, BN_EPS, Counts, Definition, Network
from generator.types import TensorSpec

if TYPE_CHECKING:
    from torch import nn

GROUP = "tritongen.networks"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
INPUT = re.compile(r"(?:(?P<name>.+):)?(?P<dims>[1-9]\d*(?:x[1-9]\d*)*)(?::(?P<type>[a-z]+\d*))?")
TARGET = re.compile(r"\w+(\.\w+)*:\w+(\.\w+)*")
T = TypeVar("T")
LARGEST_DIM = 2**31 - 1
COPIES_OF_FILE = 8  # peak memory of a build: measured 0.6 GB for 32 MB, 1.4 for 135 MB, 2.3 for 247 MB, 3.0 for 348 MB


@dataclass(frozen=True)
class ImageInput:
    """How a network takes its only image; None is ImageNet's value. The crop is the size of the input."""

    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    resize_short_px: int | None = None

    def given(self) -> dict[str, Any]:
        """Return the fields that are not None."""
        return {key: value for key, value in dataclasses.asdict(self).items() if value is not None}


@dataclass(frozen=True)
class TorchNetwork(Definition):
    """A function that returns a torch module, and the inputs of the module without the batch.

    `labels` is a file with one class per line, `target` the name of the function in messages.
    """

    reproducible: ClassVar[bool] = False  # only a call tells what the function returns

    create: Callable[[], Any]
    inputs: tuple[TensorSpec, ...]
    image: ImageInput = field(default_factory=ImageInput)
    labels: Path | None = None
    target: str = ""

    def record(self) -> dict[str, Any]:
        """Return the function and the inputs."""
        return {"torch": self.target, "inputs": list(map(dataclasses.asdict, self.inputs))}

    def module(self, name: str, *, bn_eps: float = BN_EPS) -> nn.Module:  # noqa: ARG002
        """Return the function's module, in evaluation mode; raise NetworkUnusable if it fails or returns no module."""
        from torch import nn

        module = users_value(self.target or name, self.create, nn.Module, "return a torch.nn.Module")
        return module.eval().cpu()

    def count(self, name: str) -> Counts:
        """Count with torch's FLOP counter, on the meta device: without memory for weights, and without arithmetic."""
        import torch
        from torch.utils.flop_counter import FlopCounterMode

        module = self.module(name)
        try:
            module.to("meta")
            with torch.no_grad(), FlopCounterMode(display=False) as counter:
                module(*(tensor.to("meta") for tensor in zeros(self.inputs, rows=1)))
        except Exception as error:
            raise NetworkUnusable(self.target or name, f"it cannot be counted: {first_line(error)}") from error
        return Counts(sum(parameter.numel() for parameter in module.parameters()), counter.get_total_flops())


@dataclass(frozen=True)
class Plugin(Definition):
    """An entry point of the group `tritongen.networks`; `load` imports it and returns a TorchNetwork."""

    reproducible: ClassVar[bool] = False

    value: str
    load: Callable[[], Any]

    def resolve(self) -> TorchNetwork:
        """Load the entry point; raise NetworkUnusable if it cannot be imported, or is not a TorchNetwork."""
        return users_value(self.value, self.load, TorchNetwork, "name a TorchNetwork in the entry point")

    @property
    def labels(self) -> Path | None:
        """The labels of the network that the entry point loads."""
        return self.resolve().labels

    def record(self) -> dict[str, Any]:
        """Return the entry point."""
        return {"plugin": self.value}

    def count(self, name: str) -> Counts:
        """Count the network that the entry point loads."""
        return self.resolve().count(name)


@dataclass(frozen=True)
class OnnxFile(Definition):
    """An ONNX file, and the dims of inputs that the file leaves open."""

    path: Path
    dims: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    image: ImageInput = field(default_factory=ImageInput)

    def record(self) -> dict[str, Any]:
        """Return the file's name and the options."""
        return {"onnx": self.path.name, "dims": dict(self.dims), "image": self.image.given()}

    def files(self) -> dict[str, Path]:
        """Return the file and its external data, by name."""
        from generator.graph.load import external_files, parse

        return {self.path.name: self.path, **external_files(parse(self.path), self.path)}

    def check(self) -> None:
        """Raise BadValue if the file does not exist or is not a regular file."""
        if not self.path.exists():
            raise BadValue("path", self.path, "there is no such file")
        if not (self.path.is_file() or self.path.is_dir()):
            raise BadValue("path", self.path, "not a regular file")

    def memory_bytes(self) -> int:
        """Estimate from the size of the files; a file that is not ONNX counts zero, since it will be refused."""
        try:
            return BASE_BYTES + COPIES_OF_FILE * sum(file.stat().st_size for file in self.files().values())
        except TritongenError:
            return BASE_BYTES


def onnx_network(
    path: str | Path, name: str | None = None, inputs: Iterable[str] = (), image: ImageInput | None = None
) -> Network:
    """Make a network from an ONNX file.

    Args:
        path: the file.
        name: the name of the model; by default the file's.
        inputs: the dims of inputs that the file leaves open, as `[NAME:]DIMS`.
        image: how the network takes an image.
    """
    specs = tuple(map(parse_input, inputs))
    dims = {spec.name: spec.dims for spec in specs}
    if len(dims) < len(specs):
        raise BadValue("inputs", ",".join(spec.name for spec in specs), "an input is given twice")
    return named_network(Path(path).stem if name is None else name, OnnxFile(Path(path), dims, image or ImageInput()))


def torch_network(
    target: str, name: str | None = None, inputs: Iterable[str] = (), image: ImageInput | None = None
) -> Network:
    """Make a network from a function that returns a torch module.

    Args:
        target: `package.module:function`.
        name: the name of the model; by default the function's.
        inputs: the inputs without the batch, as `[NAME:]DIMS[:TYPE]`.
        image: how the network takes an image.
    """
    if not TARGET.fullmatch(target):
        raise BadValue("target", target, "not of the form package.module:function")
    specs = named_inputs(map(parse_input, inputs))
    if not specs:
        raise BadValue("target", target, "the shape of its input is not given", "add `inputs=3x224x224`")
    function = re.split("[:.]", target)[-1]
    definition = TorchNetwork(partial(call_function, target), specs, image or ImageInput(), target=target)
    return named_network(function if name is None else name, definition)


def named_network(name: str, definition: TorchNetwork | OnnxFile) -> Network:
    """Give a definition a name; raise BadValue if a folder cannot have it, or a network of the table has it."""
    from generator.networks import NETWORKS

    if not NAME.fullmatch(name):
        raise BadValue(
            "name", repr(name), "must be letters, digits, '.', '_' and '-', and begin with a letter or digit"
        )
    if any(name.lower() == network.name for network in NETWORKS):
        raise BadValue("name", name, "a network of tritongen has this name", f"try `name=my-{name}`")
    return Network(name.lower(), name, definition, None)


def named_inputs(inputs: Iterable[TensorSpec]) -> tuple[TensorSpec, ...]:
    """Name the inputs that have no name: `input`, or `input_0`, `input_1` and so on."""
    specs = tuple(inputs)
    names = [spec.name or ("input" if len(specs) == 1 else f"input_{i}") for i, spec in enumerate(specs)]
    if len(set(names)) < len(names):
        raise BadValue("inputs", ",".join(names), "each input needs a name of its own")
    return tuple(TensorSpec(name, spec.datatype, spec.dims) for name, spec in zip(names, specs, strict=True))


def parse_input(text: str) -> TensorSpec:
    """Parse `3x224x224` or `NAME:128:int64`: dims without the batch, fp32 by default; or raise BadValue."""
    found = INPUT.fullmatch(text)
    datatype = f"TYPE_{(found['type'] or 'fp32').upper().replace('FLOAT', 'FP')}" if found else ""
    if found is None or datatype not in TYPES or not TYPES[datatype].torch:
        raise BadValue("inputs", text, "not of the form [NAME:]DIMS[:TYPE]", "write 3x224x224 or ids:128:int64")
    dims = tuple(map(int, found["dims"].split("x")))
    if max(dims) > LARGEST_DIM:
        raise BadValue("inputs", text, "a dimension is too large")
    return TensorSpec(found["name"] or "", datatype, dims)


def call_function(target: str) -> Any:  # noqa: ANN401 (users' code)
    """Import the function `package.module:function`, also from the current folder, and call it."""
    module_name, _, function = target.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = import_module(module_name)
    except (Exception, SystemExit) as error:
        raise NetworkUnusable(target, describe(error), "it is searched here and on PYTHONPATH") from error
    for part in function.split("."):
        if not hasattr(found, part):
            raise NetworkUnusable(target, f"{module_name} has no {part!r}")
        found = getattr(found, part)
    if not callable(found):
        raise NetworkUnusable(target, f"{function} is not a function")
    return found()


def users_value(target: str, function: Callable[[], Any], kind: type[T], hint: str) -> T:
    """Call the user's code; raise NetworkUnusable if it fails, or gives a value of another type."""
    try:
        value = function()
    except NetworkUnusable:
        raise
    except (Exception, SystemExit) as error:
        raise NetworkUnusable(target, describe(error)) from error
    if not isinstance(value, kind):
        raise NetworkUnusable(target, f"its value is of type {type(value).__name__}", hint)
    return value


def plugins() -> dict[str, Network]:
    """Return the networks of installed packages by name, without importing the packages."""
    return {
        entry.name.lower(): Network(entry.name.lower(), entry.name, Plugin(entry.value, entry.load), None)
        for entry in entry_points(group=GROUP)
        if NAME.fullmatch(entry.name)
    }


def describe(error: BaseException) -> str:
    """Describe an exception of the user's code in one line, with its place, unless that is in import machinery."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    user = [frame for frame in frames if frame.filename != __file__]
    place = f" ({Path(user[-1].filename).name}, line {user[-1].lineno})" if user else ""
    line = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {line}{place}"
