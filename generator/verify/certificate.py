"""The record of a verification: error per batch, and the tolerance."""

from dataclasses import dataclass


@dataclass(frozen=True)
class BatchError:
    """The error of one batch against its reference; outputs have no unit.

    `max_abs_logit` is the largest absolute value of the reference over all inputs, those of larger batches included.
    `top1_agree` and `top5_agree` count the images with the top-1 class, or the set of top-5 classes, of the reference;
    the flips count those that differ although the reference's margin exceeds the error. All four are None if the
    output is not a list of classes.
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
        """The largest absolute difference divided by the largest absolute value."""
        return ratio(self.max_abs_error, self.max_abs_logit)

    @property
    def relative_rms(self) -> float:
        """The root mean square of the differences divided by the largest absolute value."""
        return ratio(self.rms_error, self.max_abs_logit)


def ratio(error: float, scale: float) -> float:
    """Divide an error by a scale; no error is 0 on every scale."""
    if error == 0:
        return 0.0
    return error / scale if scale else float("inf")


@dataclass(frozen=True)
class Certificate:
    """The result of the verification before a model was published.

    `inputs` describes the sample inputs. `fp64` is the error of the reference against itself in fp64. `fp16` is the
    error of an FP16 cast of the graph, run by ONNX Runtime on the CPU: an estimate for TensorRT. Both are measured at
    batch 1 and have no tolerance.
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
