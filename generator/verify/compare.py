"""Verify the file that will be served against the network that it was made from."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, numpy_helper

from generator.errors import VerificationFailed, first_line
from generator.system.native import return_memory
from generator.types import Preprocessing, Signature, TensorSpec
from generator.verify import samples
from generator.verify.certificate import BatchError, Certificate
from generator.verify.references import Feeds, Reference, TorchReference, cpu_session, run_session
from generator.verify.samples import Array

BATCH_SIZES = (1, 4, 8)
TOLERANCE = 1e-4  # max |difference| / max |logit|; fp32 itself differs from fp64 by up to 1e-4 on the networks
TOP = 5
# The largest difference between rows that should be equal: deterministic kernels at one size give the same bits.
SAME_ROW = 1e-5
# The first row of each pair is the second of the next: every row comes first and last, each time with another row.
PAIRS = ([0, 1], [2, 0], [1, 2])
LARGEST_FP16 = torch.finfo(torch.float16).max
LARGE_TENSOR_BYTES = 1 << 14


def verify(
    name: str,
    path: Path,
    model: onnx.ModelProto,
    reference: Reference,
    signature: Signature,
    *,
    preprocessing: Preprocessing | None,
    tolerance: float = TOLERANCE,
) -> Certificate:
    """Compare the file that will be served with its reference, on batches of 1, 4 and 8 different inputs.

    `model` is the same graph in memory, and is consumed. An unbatched model is compared once. The tolerance is the
    largest allowed difference, relative to the largest value. With preprocessing the first inputs are photographs.

    Raises:
        VerificationFailed: the error exceeds the tolerance, classes differ although the reference's margin exceeds
            the error, or the model does not run.
    """
    sizes = (1,) if signature.unbatched else BATCH_SIZES
    feeds = samples.feeds(signature.inputs, None if signature.unbatched else sizes[-1], preprocessing)
    batches = (
        [feeds] if signature.unbatched else [{name: rows[:size] for name, rows in feeds.items()} for size in sizes]
    )
    try:
        # One run is enough: the rows of a module are independent, and a fixed batch is always computed whole.
        one_run = isinstance(reference, TorchReference) or reference.rows is not None
        if one_run and not signature.unbatched:
            outputs = reference.run(feeds)
            expected = [[output[:size] for output in outputs] for size in sizes]
        else:
            expected = [reference.run(batch) for batch in batches]
        session = cpu_session(path)
        answers = [run_session(session, batch) for batch in batches]
        del session
        return_memory()  # ONNX Runtime's copy of the weights
    except Exception as error:
        batch_sizes = ", ".join(map(str, sizes))
        raise VerificationFailed(name, f"it does not answer batches of {batch_sizes}: {first_line(error)}") from error
    scales = [largest_value(output) for output in expected[-1]]
    ranked = signature.classes is not None

    def batch_error(answer: Sequence[Array], batch: int, correct: Sequence[Array] = ()) -> BatchError:
        return compare(correct or expected[batch], answer, sizes[batch], ranked=ranked, scales=scales)

    errors = tuple(batch_error(answer, number) for number, answer in enumerate(answers))
    certificate = Certificate(reference.label, samples.described(signature, preprocessing), tolerance, errors)
    check_errors(name, certificate)
    in_fp64 = reference.run_fp64(batches[0]) if isinstance(reference, TorchReference) else None
    return_memory()
    in_fp16 = run_fp16_cast(model, batches[0])
    return replace(
        certificate,
        fp64=None if in_fp64 is None else batch_error(expected[0], 0, in_fp64),
        fp16=None if in_fp16 is None else batch_error(in_fp16, 0),
    )


def check_errors(name: str, certificate: Certificate) -> None:
    """Raise VerificationFailed unless every batch is within the tolerance and flips no class."""
    for batch in certificate.batches:
        # `not <=`, so that NaN fails.
        if not batch.relative_error <= certificate.tolerance:
            rounding = f"a tolerance below {TOLERANCE:g}, the default, can be smaller than the rounding of fp32"
            raise VerificationFailed(
                name,
                f"at batch {batch.batch_size} its answers differ from those of {certificate.reference} by "
                f"{batch.relative_error:.1e} of the largest, above the tolerance of {certificate.tolerance:g}",
                rounding if batch.relative_error <= TOLERANCE else None,
            )
        for place, flips in (("another top-1 class", batch.top1_flips), ("other top-5 classes", batch.top5_flips)):
            if flips:
                raise VerificationFailed(
                    name, f"at batch {batch.batch_size} {flips} of its images have {place} than {certificate.reference}"
                )


def compare(
    expected: Sequence[Array],
    answered: Sequence[Array],
    batch_size: int,
    *,
    ranked: bool,
    scales: Sequence[float] | None = None,
) -> BatchError:
    """Return the largest error over the outputs, with class counts if the only output is `ranked`, [N,classes,1,…].

    `scales` are the largest values of the outputs; by default those of this batch.
    """
    scales = scales or [largest_value(output) for output in expected]
    outputs = zip(expected, answered, scales, strict=True)
    errors = [output_error(want, got, batch_size, scale) for want, got, scale in outputs]
    worst = max(errors, key=lambda error: (np.isnan(error.relative_error), error.relative_error))
    comparable = ranked and expected[0].shape == answered[0].shape
    return replace(worst, **class_counts(batch_size, expected[0], answered[0])) if comparable else worst


def largest_value(output: Array) -> float:
    """Return the largest finite absolute value, or 1 for a type without subtraction."""
    if output.dtype.kind in "OUS":
        return 1.0
    values = np.abs(output.astype(np.float64))
    return float(values.max(initial=0, where=np.isfinite(values)))


def output_error(expected: Array, answered: Array, batch_size: int, scale: float) -> BatchError:
    """Return the error of one output; with a different shape, or a type without subtraction, it is 0 or infinite."""
    if expected.shape != answered.shape or expected.dtype.kind in "OUS":
        same = expected.shape == answered.shape and bool((expected == answered).all())
        error = 0.0 if same else float("inf")
        return BatchError(batch_size, error, error, scale)
    want, got = expected.astype(np.float64), answered.astype(np.float64)
    # Equal infinities agree; their difference would be NaN.
    difference = np.abs(np.subtract(want, got, out=np.zeros_like(want), where=want != got))
    rms = float(np.sqrt(np.mean(difference**2))) if difference.size else 0.0
    return BatchError(batch_size, float(difference.max(initial=0)), rms, scale)


def class_counts(batch_size: int, expected: Array, answered: Array) -> dict[str, int]:
    """Count the images whose top-1 and top-5 classes agree, and those that flip despite a sufficient margin."""
    expected, answered = (logits.reshape(batch_size, -1) for logits in (expected, answered))
    difference = np.abs(expected - answered).max(axis=1)
    counts: dict[str, int] = {}
    for top in (1, TOP):
        if expected.shape[1] <= top:
            continue
        ordered = np.sort(expected, axis=1)[:, ::-1]
        decided = ordered[:, top - 1] - ordered[:, top] > difference
        want, got = (np.sort(np.argsort(-logits, axis=1, kind="stable")[:, :top]) for logits in (expected, answered))
        agree = (want == got).all(axis=1)
        counts |= {f"top{top}_agree": int(agree.sum()), f"top{top}_flips": int((~agree & decided).sum())}
    return counts


def run_fp16_cast(model: onnx.ModelProto, feeds: Feeds) -> list[Array] | None:
    """Run an FP16 cast of the graph; return None if it has external data, no FP32 weights, or cannot be cast."""
    weights = model.graph.initializer
    external = any(tensor.data_location == TensorProto.EXTERNAL for tensor in weights)
    if external or not any(tensor.data_type == TensorProto.FLOAT for tensor in weights):
        return None
    try:
        return run_session(cpu_session(cast_to_fp16(model).SerializeToString(), optimised=False), feeds)
    except Exception:  # noqa: BLE001 (a graph that cannot be cast is still a valid FP32 graph)
        return None


def cast_to_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Cast weights and arithmetic to FP16 but keep the types of inputs and outputs; the given model is consumed.

    Values beyond FP16's range become its largest, as in TensorRT's conversion of weights.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    # torch casts large tensors faster than the converter's numpy does. The converter knows which small constants must
    # stay FP32, such as the scales of a Resize.
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and len(tensor.raw_data) > LARGE_TENSOR_BYTES:
            values = torch.from_numpy(numpy_helper.to_array(tensor).copy()).clamp_(-LARGEST_FP16, LARGEST_FP16)
            tensor.CopyFrom(numpy_helper.from_array(values.half().numpy(), tensor.name))
    with warnings.catch_warnings(action="ignore"):  # one per tensor with values that FP16 rounds to zero
        cast: onnx.ModelProto = convert_float_to_float16(model, keep_io_types=True, disable_shape_infer=True)
    return cast


def row_dependence(
    reference: Reference, inputs: tuple[TensorSpec, ...], preprocessing: Preprocessing | None
) -> str | None:
    """Return the reason why an open first dimension is not a batch: an answer depends on the other row or its place."""
    feeds = samples.feeds(inputs, 3, preprocessing)
    try:
        answers = [reference.run({name: array[rows] for name, array in feeds.items()}) for rows in PAIRS]
    except Exception as error:  # noqa: BLE001 (any error of the network)
        return f"it does not take two rows at once: {first_line(error)}"
    if any(np.shape(output)[:1] != (2,) for answer in answers for output in answer):
        return "its outputs have another number of rows than its inputs"
    for answer, following in zip(answers, [*answers[1:], answers[0]], strict=True):
        first, last = [output[:1] for output in answer], [output[1:] for output in following]
        if not compare(first, last, 1, ranked=False).relative_error <= SAME_ROW:
            return "its answer to one row depends on the other rows"
    return None
