"""The values that flow between the steps: frozen, with units in the field names."""

from dataclasses import dataclass
from typing import Literal

Precision = Literal["fp16", "fp32"]
PRECISIONS: tuple[Precision, ...] = ("fp16", "fp32")
OPEN = -1  # a dimension that is known only at run time


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the input tensor; mean and std are of RGB values in 0..1."""

    resize_short_px: int = 256
    crop_px: int = 224
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Weights:
    """The source of a network's parameters; `bn_eps` is the epsilon of their batch norms."""

    source: str
    seed: int | None = None
    file: str | None = None
    sha256: str | None = None
    bn_eps: float | None = None

    @property
    def label(self) -> str:
        """The text for messages and files: `random (seed 0)`, `timm (dpn92.safetensors)`."""
        of = f"seed {self.seed}" if self.seed is not None else self.file
        return self.source if of is None else f"{self.source} ({of})"

    @property
    def random(self) -> bool:
        """True for random parameters, whose labels are meaningless."""
        return self.source == "random"


@dataclass(frozen=True)
class TensorSpec:
    """A tensor of the served model; `dims` without the batch, `datatype` in config.pbtxt's words."""

    name: str
    datatype: str
    dims: tuple[int, ...]

    @property
    def shape(self) -> str:
        """The dims as text, such as `[1,3,224,224]`; `?` is an open dimension."""
        return f"[{','.join('?' if dim == OPEN else str(dim) for dim in self.dims)}]"


@dataclass(frozen=True)
class Signature:
    """The tensors of a graph. Their dims are without the batch, unless `unbatched` says why there is none."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    unbatched: str | None = None

    @property
    def classes(self) -> int | None:
        """How many classes it tells apart: the only length above 1 of its only output, where that is of floats."""
        if len(self.outputs) != 1 or self.outputs[0].datatype not in ("TYPE_FP16", "TYPE_FP32", "TYPE_FP64"):
            return None
        lengths = [length for length in self.outputs[0].dims if length != 1]
        return lengths[0] if len(lengths) == 1 and lengths[0] > 1 else None
