"""What a served graph is compared with: the torch module it was exported from, or the ONNX file as it was given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import onnxruntime
import torch

from generator.system.native import torch_threads

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt
    from torch import nn

    Array = npt.NDArray[Any]
    Feeds = Mapping[str, Array]

# Fixed: the order of sums, and so the last bits, must not depend on the machine. One: models are made side by side.
THREADS = 1


class Reference(Protocol):
    """A network as it was before it was exported or rewritten."""

    label: str

    def run(self, feeds: Feeds) -> list[Array]:
        """The outputs in order."""
        ...

    def run_batches(self, feeds: Feeds, sizes: Sequence[int]) -> list[list[Array]]:
        """The outputs for the first rows, as many as each size says; the last size is the largest."""
        ...

    def run_fp64(self, feeds: Feeds) -> list[Array] | None:
        """The same in double precision, where that can be had."""
        ...


class TorchReference:
    """A torch module in evaluation mode that returns a tensor or a tuple; its inputs are the feeds in order."""

    label = "torch"

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def run(self, feeds: Feeds) -> list[Array]:
        """By the module."""
        with torch.no_grad(), torch_threads(THREADS):
            answer = self.module(*(torch.from_numpy(array) for array in feeds.values()))
        return [value.numpy() for value in (answer if isinstance(answer, tuple) else (answer,))]

    def run_batches(self, feeds: Feeds, sizes: Sequence[int]) -> list[list[Array]]:
        """Once: the rows of a module in evaluation mode are apart."""
        return sliced(self.run(first_rows(feeds, sizes[-1])), sizes)

    def run_fp64(self, feeds: Feeds) -> list[Array] | None:
        """By the module in double precision, unless it computes in another type whatever its parameters are.

        Every fp32 value is one in fp64, so that it is itself again after.
        """
        doubled = {
            name: array.astype(np.float64) if array.dtype == np.float32 else array for name, array in feeds.items()
        }
        self.module.double()
        try:
            return self.run(doubled)
        except RuntimeError:  # as torch says that two types do not go together
            return None
        finally:
            self.module.float()


class OnnxReference:
    """An ONNX file as it was given, by ONNX Runtime without any optimisation.

    `rows` is the fixed number of rows that it takes at once, where it has one. `half` is whether it computes in FP16:
    on the CPU that is FP32 with a rounding after every operator, most of which only the optimiser takes out, so that
    two answers can be compared only if both were optimised.
    """

    label = "the file as given"

    def __init__(self, model: bytes | Path, rows: int | None = None, *, half: bool = False) -> None:
        self.session = cpu_session(model, optimised=half)
        self.rows = rows

    def run(self, feeds: Feeds) -> list[Array]:
        """At once, or as many rows at a time as it takes."""
        if self.rows is None:
            return run_session(self.session, feeds)
        count = len(next(iter(feeds.values())))
        parts = [self.run_part(feeds, range(begin, begin + self.rows), count) for begin in range(0, count, self.rows)]
        return [np.concatenate(part)[:count] for part in zip(*parts, strict=True)]

    def run_batches(self, feeds: Feeds, sizes: Sequence[int]) -> list[list[Array]]:
        """Each batch as it will be asked, unless the file has a batch of its own."""
        if self.rows is not None:
            return sliced(self.run(first_rows(feeds, sizes[-1])), sizes)
        return [self.run(first_rows(feeds, size)) for size in sizes]

    def run_part(self, feeds: Feeds, rows: range, count: int) -> list[Array]:
        """Some rows, the last one repeated where there are too few."""
        chosen = [min(row, count - 1) for row in rows]
        return run_session(self.session, {name: array[chosen] for name, array in feeds.items()})

    def run_fp64(self, feeds: Feeds) -> list[Array] | None:
        """A graph has the precision it was written in."""
        del feeds
        return None


def first_rows(feeds: Feeds, count: int) -> dict[str, Array]:
    """The first rows of every input."""
    return {name: array[:count] for name, array in feeds.items()}


def sliced(outputs: Sequence[Array], sizes: Sequence[int]) -> list[list[Array]]:
    """The first rows of every output, for each size."""
    return [[output[:size] for output in outputs] for size in sizes]


def run_session(session: onnxruntime.InferenceSession, feeds: Feeds) -> list[Array]:
    """All outputs in order."""
    outputs: Sequence[Array] = session.run(None, dict(feeds))
    return list(outputs)


def cpu_session(
    model: bytes | Path, *, optimised: bool = True, data_folder: Path | None = None
) -> onnxruntime.InferenceSession:
    """ONNX Runtime on the CPU with a fixed thread count; `data_folder` is where bytes have their external data."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # the cores may be others' too
    options.log_severity_level = 4  # its errors are raised as well
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if data_folder is not None:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(data_folder))
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
