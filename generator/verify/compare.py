"""The file that will be served against the network it was made of: does it compute the same?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from generator.errors import VerificationFailed, first_line
from generator.graph.fp16_cast import half
from generator.system.native import return_memory
from generator.verify import samples
from generator.verify.certificate import BatchError, Certificate
from generator.verify.references import cpu_session, first_rows, run_session

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from generator.types import Preprocessing, Signature
    from generator.verify.references import Feeds, Reference

    Array = npt.NDArray[Any]

BATCH_SIZES = (1, 4, 8)
TOLERANCE = 1e-4  # of max |difference| / max |logit|; fp32 itself is up to 1e-4 off fp64 on these nets
TOP = 5


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
    """Compare ONNX Runtime's answers with the reference's on batches of 1, 4 and 8, every row another input.

    Args:
        name: the model's, for the error.
        path: the ONNX file that will be served.
        model: the same in memory; it is consumed.
        reference: what it must agree with.
        signature: its inputs and outputs; without a batch it is compared once.
        preprocessing: how photographs become its input, where it takes images.
        tolerance: the largest difference allowed, relative to the largest value.

    Raises:
        VerificationFailed: an error above the tolerance, or other classes where the reference's own margin
            exceeds the difference; or no answer at all.
    """
    sizes = (1,) if signature.unbatched else BATCH_SIZES
    feeds = samples.feeds(signature.inputs, None if signature.unbatched else sizes[-1], preprocessing)
    batches = [feeds] if signature.unbatched else [first_rows(feeds, size) for size in sizes]
    try:
        expected = [reference.run(feeds)] if signature.unbatched else reference.run_batches(feeds, sizes)
        answers = answers_of(path, batches)
    except Exception as error:
        tried = ", ".join(map(str, sizes))
        raise VerificationFailed(name, f"it does not answer batches of {tried}: {first_line(error)}") from error
    scales = [largest(output) for output in expected[-1]]
    ranked = signature.classes is not None

    def errors(answered: Sequence[Array], batch: int, wanted: Sequence[Array] = ()) -> BatchError:
        return compare(wanted or expected[batch], answered, sizes[batch], ranked=ranked, scales=scales)

    found = tuple(errors(answer, number) for number, answer in enumerate(answers))
    inputs = samples.described(signature, preprocessing)
    judge(name, Certificate(reference.label, inputs, tolerance, found))
    exact = reference.run_fp64(batches[0])
    return_memory()
    half_answer = fp16_answer(model, batches[0])
    return Certificate(
        reference.label,
        inputs,
        tolerance,
        found,
        fp64=None if exact is None else errors(expected[0], 0, exact),
        fp16=None if half_answer is None else errors(half_answer, 0),
    )


def answers_of(path: Path, batches: Sequence[Feeds]) -> list[list[Array]]:
    """What ONNX Runtime answers to each; its copy of the weights is gone after."""
    session = cpu_session(path)
    answers = [run_session(session, batch) for batch in batches]
    del session
    return_memory()
    return answers


def judge(name: str, certificate: Certificate) -> None:
    """Raise VerificationFailed unless every batch is within the tolerance and flips no class."""
    for batch in certificate.batches:
        # Written so that NaN fails.
        if not batch.relative_error <= certificate.tolerance:
            rounding = f"less than {TOLERANCE:g}, the tolerance unless told, may be fp32's own rounding"
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
    """The errors of the output that is furthest off; its classes, where the only output is `ranked`, [N,classes,1,…].

    `scales` are the largest values of the outputs, where they are to be those of a larger batch.
    """
    scales = scales or [largest(output) for output in expected]
    errors = [
        output_error(want, got, batch_size, scale) for want, got, scale in zip(expected, answered, scales, strict=True)
    ]
    worst = max(errors, key=lambda error: (np.isnan(error.relative_error), error.relative_error))
    same = ranked and expected[0].shape == answered[0].shape
    return with_ranks(worst, expected[0], answered[0]) if same else worst


def largest(output: Array) -> float:
    """The largest finite absolute value; 1 where nothing can be subtracted."""
    if output.dtype.kind in "OUS":
        return 1.0
    values = np.abs(output.astype(np.float64))
    return float(values.max(initial=0, where=np.isfinite(values)))


def output_error(expected: Array, answered: Array, batch_size: int, scale: float) -> BatchError:
    """Of one output; what cannot be subtracted, or has another shape, is equal or infinitely far."""
    if expected.shape != answered.shape or expected.dtype.kind in "OUS":
        same = expected.shape == answered.shape and bool((expected == answered).all())
        off = 0.0 if same else float("inf")
        return BatchError(batch_size, off, off, scale)
    want, got = expected.astype(np.float64), answered.astype(np.float64)
    # Infinities of one sign agree; subtracted they would be NaN.
    difference = np.abs(np.subtract(want, got, out=np.zeros_like(want), where=want != got))
    rms = float(np.sqrt(np.mean(difference**2))) if difference.size else 0.0
    return BatchError(batch_size, float(difference.max(initial=0)), rms, scale)


def with_ranks(error: BatchError, expected: Array, answered: Array) -> BatchError:
    """The error with how many first classes, and sets of first five, agree, and which of the others count."""
    expected, answered = (logits.reshape(error.batch_size, -1) for logits in (expected, answered))
    off = np.abs(expected - answered).max(axis=1)
    counts: dict[str, int] = {}
    for top in (1, TOP):
        if expected.shape[1] <= top:
            continue
        ordered = np.sort(expected, axis=1)[:, ::-1]
        decided = ordered[:, top - 1] - ordered[:, top] > off
        want, got = (np.sort(np.argsort(-logits, axis=1, kind="stable")[:, :top]) for logits in (expected, answered))
        agree = (want == got).all(axis=1)
        counts |= {f"top{top}_agree": int(agree.sum()), f"top{top}_flips": int((~agree & decided).sum())}
    return BatchError(error.batch_size, error.max_abs_error, error.rms_error, error.max_abs_logit, **counts)


def fp16_answer(model: onnx.ModelProto, feeds: Feeds) -> list[Array] | None:
    """What the graph's FP16 cast answers; None where the graph is too large to cast, or has nothing to."""
    weights = model.graph.initializer
    external = any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in weights)
    if external or not any(tensor.data_type == onnx.TensorProto.FLOAT for tensor in weights):
        return None
    try:
        return run_session(cpu_session(half(model).SerializeToString(), optimised=False), feeds)
    except Exception:  # noqa: BLE001 (a graph of the user's that cannot be cast is still a good FP32 graph)
        return None
