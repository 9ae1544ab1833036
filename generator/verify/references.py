"""References for verification: the torch module that was exported, or the given ONNX file."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import nn

from generator.system.native import torch_threads
from generator.verify.samples import Array

Feeds = Mapping[str, Array]

# A fixed number, so that the order of sums, and with it the last bits, is equal on all machines; 1, because models
# are built in parallel.
THREADS = 1


class TorchReference:
    """A torch module in evaluation mode that takes the feeds in order and returns a tensor or a tuple."""

    label = "torch"

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def run(self, feeds: Feeds) -> list[Array]:
        """Return the outputs in order."""
        with torch.no_grad(), torch_threads(THREADS):
            answer = self.module(*(torch.from_numpy(array) for array in feeds.values()))
        return [value.numpy() for value in (answer if isinstance(answer, tuple) else (answer,))]

    def run_fp64(self, feeds: Feeds) -> list[Array] | None:
        """Call the module in double precision; return None if it computes in a fixed type.

        Every fp32 value is also an fp64 value, so the module is unchanged afterwards.
        """
        doubled = {
            name: array.astype(np.float64) if array.dtype == np.float32 else array for name, array in feeds.items()
        }
        self.module.double()
        try:
            return self.run(doubled)
        except RuntimeError:  # torch refuses to combine two types
            return None
        finally:
            self.module.float()


class OnnxReference:
    """A given ONNX file, run by ONNX Runtime without optimisation.

    `rows` is its fixed batch, or None. `fp16` is True for a graph that computes in FP16: on the CPU ONNX Runtime
    computes it in FP32 and rounds after every operator, unless the optimiser removes the rounding. Two answers are
    therefore comparable only if both graphs were optimised.
    """

    label = "the file as given"

    def __init__(self, model: bytes | Path, rows: int | None = None, *, fp16: bool = False) -> None:
        self.session = cpu_session(model, optimised=fp16)
        self.rows = rows

    def run(self, feeds: Feeds) -> list[Array]:
        """Return the outputs in order; run all rows at once, or as many at a time as the fixed batch."""
        if self.rows is None:
            return run_session(self.session, feeds)
        count = len(next(iter(feeds.values())))
        parts = []
        for begin in range(0, count, self.rows):  # the last row is repeated to fill the last part
            rows = [min(row, count - 1) for row in range(begin, begin + self.rows)]
            parts.append(run_session(self.session, {name: array[rows] for name, array in feeds.items()}))
        return [np.concatenate(part)[:count] for part in zip(*parts, strict=True)]


Reference = TorchReference | OnnxReference


def run_session(session: onnxruntime.InferenceSession, feeds: Feeds) -> list[Array]:
    """Return all outputs in order."""
    outputs: Sequence[Array] = session.run(None, dict(feeds))
    return list(outputs)


def cpu_session(
    model: bytes | Path, *, optimised: bool = True, data_folder: Path | None = None
) -> onnxruntime.InferenceSession:
    """Open a graph with ONNX Runtime on the CPU; `data_folder` holds the external data of a graph given as bytes."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # the cores are shared
    options.log_severity_level = 4  # errors are raised anyway
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if data_folder is not None:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(data_folder))
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
