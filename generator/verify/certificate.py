"""The record of a comparison: error per batch, and the bound that it was held to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BatchError:
    """An answer against its reference on one batch; the outputs have no unit.

    `max_abs_logit` is the largest value of the reference over all images that were tried, those of larger batches too.
    The `top` counts are of images whose first class, or whose set of first five, is the reference's, and of those
    where it is another although the reference's own margin exceeds the error; None where the output is no classes.
    """

    batch_size: int
    max_abs_error: float
    rms_error: float
    max_abs_logit: float
    top1_agree: int | None = None
    top5_agree: int | None = None
    top1_flips: int | None = None
    top5_flips: int | None = None

    @property
    def relative_error(self) -> float:
        """Largest difference over largest value, both absolute."""
        return ratio(self.max_abs_error, self.max_abs_logit)

    @property
    def relative_rms(self) -> float:
        """Root of the mean square of the differences over the largest absolute value."""
        return ratio(self.rms_error, self.max_abs_logit)


def ratio(error: float, scale: float) -> float:
    """An error relative to a scale; no error is none on any scale."""
    if error == 0:
        return 0.0
    return error / scale if scale else float("inf")


@dataclass(frozen=True)
class Certificate:
    """What was compared before a model was published, and the bound it was held to.

    `inputs` says what it was tried on. `fp64` is the reference's own distance from itself in fp64, `fp16` the distance
    of an FP16 cast of the graph, run by ONNX Runtime on the CPU: an estimate of TensorRT's. Both at batch 1, and held
    to nothing.
    """

    reference: str
    inputs: str
    tolerance: float
    batches: tuple[BatchError, ...]
    fp64: BatchError | None = None
    fp16: BatchError | None = None

    @property
    def worst(self) -> BatchError:
        """The batch with the largest relative error."""
        return max(self.batches, key=lambda batch: batch.relative_error)
