"""Parameters and FLOPs of a network, counted while shapes flow through the module itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from generator.errors import NetworkUnusable, first_line
from generator.graph.datatypes import zeros
from generator.networks import INPUT_DIMS, create
from generator.networks.types import Plugin
from generator.networks.user_networks import load_plugin, module_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from torch import Tensor, nn
    from torch._ops import OpOverload

    from generator.networks.types import Network


@dataclass(frozen=True)
class Layer:
    """An operation on one image as a counting rule needs it; `elements` are those of its output."""

    kind: Literal["convolution", "linear", "batch norm", "relu", "pool"]
    elements: int
    cin: int = 0
    cout: int = 0
    kernel: tuple[int, ...] = ()
    groups: int = 1

    @property
    def places(self) -> int:
        """Height times width of the output."""
        return self.elements // self.cout


@dataclass(frozen=True)
class Counts:
    """Parameters, FLOPs of one image (a multiply-add is two), and the layers in the order they ran."""

    parameters: int
    flops: int
    layers: tuple[Layer, ...] = ()


def count(network: Network) -> Counts:
    """Count a network on one image, or one row of whatever its inputs are.

    Raises:
        NetworkUnusable: it is a plugin that gives no network, or one that does not take its inputs.
    """
    if isinstance(network.shape, Plugin):
        plugin = load_plugin(network.shape)
        module = module_of(plugin, network.name)
        try:
            return count_module(module, *zeros(plugin.inputs, rows=1))
        except Exception as error:
            why = f"it cannot be counted: {first_line(error)}"
            raise NetworkUnusable(plugin.target or network.name, why) from error
    return count_module(create(network), torch.empty(1, *INPUT_DIMS, device="meta"))


def count_module(module: nn.Module, *inputs: Tensor) -> Counts:
    """Count on the meta device: no memory for weights, no arithmetic. A module that has weights loses them."""
    module.to("meta")
    with torch.no_grad(), Recorder() as recorder:
        module(*(one.to("meta") for one in inputs))
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return Counts(parameters, recorder.flops, tuple(recorder.layers))


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the FLOPs of convolutions and matrix products as they are called, and notes the layers.

    FLOPs are by the formulas of torch.utils.flop_counter, whatever the module calls. The operations of ANSWERS
    do not run, their output is made from its shape: the meta device's own kernels import torch._dynamo and
    sympy, which takes as long as torch itself.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0
        self.layers: list[Layer] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: what keeps a mode from being compiled imports torch._dynamo too, and nothing is compiled here."""
        return False

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Make the output from its shape, or let the operation run."""
        kwargs = kwargs or {}
        answer = ANSWERS[func](*args) if func in ANSWERS and not kwargs else None
        if answer:
            out, layer = answer
            if layer:
                self.layers.append(layer)
        else:
            # In inference mode linear and its like come whole: their parts are what has a formula.
            with self:
                out = func.decompose(*args, **kwargs)
            if out is not NotImplemented:
                return out
            out = func(*args, **kwargs)
        if formula := flop_registry.get(func.overloadpacket):
            self.flops += formula(*args, **kwargs, out_val=out)
        return out


# What an operation gives, and the layer it is, if one is counted; None: it has to run.
Answer = tuple[Any, Layer | None] | None


def convolution(
    x: Tensor,
    weight: Tensor,
    _bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,  # noqa: FBT001 (the operator's own signature)
    _output_padding: Sequence[int],
    groups: int,
) -> Answer:
    """[N,Cin,H,W] by [Cout,Cin/groups,kh,kw]; any number of spatial dimensions."""
    if transposed:
        return None
    kernel = tuple(weight.shape[2:])
    out = meta(x, (x.shape[0], weight.shape[0], *slide(x, kernel, stride, padding, dilation)))
    return out, Layer("convolution", out.numel(), x.shape[1], weight.shape[0], kernel, groups)


def linear(_bias: Tensor, x: Tensor, weight: Tensor) -> Answer:
    """[N,Cin] by [Cin,Cout]."""
    out = meta(x, (x.shape[0], weight.shape[1]))
    return out, Layer("linear", out.numel(), *weight.shape)


def batch_norm(x: Tensor, *_: object) -> Answer:
    """The same shape; the statistics of a batch are empty in evaluation."""
    return (meta(x, x.shape), meta(x, (0,)), meta(x, (0,))), Layer("batch norm", x.numel(), x.shape[1], x.shape[1])


def relu(x: Tensor) -> Answer:
    """The same shape."""
    return meta(x, x.shape), Layer("relu", x.numel())


def max_pool(
    x: Tensor, kernel: Sequence[int], stride: Sequence[int] = (), padding: Sequence[int] = (0,), *others: object
) -> Answer:
    """The maxima, and where they were; a dilation or a ceiling is torch's own affair."""
    pooled = average_pool(x, kernel, stride, padding, *others)
    if not pooled:
        return None
    out, layer = pooled
    return (out, out.to(torch.int64)), layer


def average_pool(
    x: Tensor, kernel: Sequence[int], stride: Sequence[int] = (), padding: Sequence[int] = (0,), *others: object
) -> Answer:
    """[N,C,H,W] -> [N,C,H/stride,W/stride]; a ceiling or a divisor is torch's own affair."""
    if others or x.dim() != 1 + len(INPUT_DIMS):
        return None
    out = meta(x, (*x.shape[:2], *slide(x, kernel, stride or kernel, padding, (1,))))
    return out, Layer("pool", out.numel(), kernel=tuple(kernel))


def mean(x: Tensor, axes: Sequence[int] | None, keep: bool = False) -> Answer:  # noqa: FBT001, FBT002 (as torch has it)
    """The mean over some axes; over height and width it is the global average pool."""
    averaged = {axis % x.dim() for axis in axes or range(x.dim())}
    out = meta(x, (1 if i in averaged else n for i, n in enumerate(x.shape) if keep or i not in averaged))
    return out, Layer("pool", out.numel(), kernel=tuple(x.shape[i] for i in sorted(averaged)))


def cat(tensors: Sequence[Tensor], axis: int = 0) -> Answer:
    """The sum of the sizes along one axis."""
    first = tensors[0]
    if any((one.dim(), one.dtype) != (first.dim(), first.dtype) for one in tensors):
        return None
    shape = list(first.shape)
    shape[axis] = sum(one.shape[axis] for one in tensors)
    return meta(first, shape), None


def add(x: Tensor, y: Tensor) -> Answer:
    """The same shape; broadcasting is torch's own affair."""
    if not isinstance(y, torch.Tensor) or (x.shape, x.dtype) != (y.shape, y.dtype):
        return None
    return meta(x, x.shape), None


def meta(like: Tensor, shape: Iterable[int]) -> Tensor:
    """A tensor without data."""
    return torch.empty(tuple(shape), dtype=like.dtype, device="meta")


def slide(
    x: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> Iterator[int]:
    """How many places a window takes along each spatial axis; one figure may stand for all axes."""
    for axis, size in enumerate(x.shape[2:]):
        k, s, p, d = (values[axis % len(values)] for values in (kernel, stride, padding, dilation))
        yield (size + 2 * p - d * (k - 1) - 1) // s + 1


aten = torch.ops.aten
ANSWERS: dict[OpOverload, Callable[..., Answer]] = {
    aten.add.Tensor: add,
    aten.addmm.default: linear,
    aten.avg_pool2d.default: average_pool,
    aten.cat.default: cat,
    aten.convolution.default: convolution,
    aten.max_pool2d_with_indices.default: max_pool,
    aten.mean.dim: mean,
    aten.native_batch_norm.default: batch_norm,
    aten.relu.default: relu,
}
