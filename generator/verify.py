"""The file that will be served against the network it was made of: does it compute the same?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from generator import samples
from generator.errors import VerificationFailed
from generator.half import half
from generator.references import cpu_session, run_session
from generator.spec import BatchError, Certificate

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from generator.references import Feeds, Reference
    from generator.spec import Preprocessing, Signature

    Array = npt.NDArray[Any]

BATCH_SIZES = (1, 4, 8)
TOLERANCE = 1e-4  # of max |difference| / max |logit|; fp32 itself is up to 1e-4 off fp64 on these nets
TOP = 5


def verify(
    name: str,
    path: Path,
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
        reference: what it must agree with.
        signature: its inputs and outputs; without a batch it is compared once.
        preprocessing: how photographs become its input, where it takes images.
        tolerance: the largest difference allowed, relative to the largest value.

    Raises:
        VerificationFailed: an error above the tolerance, or other classes where the reference's own margin
            exceeds the difference.
    """
    feeds = samples.feeds(signature.inputs, None if signature.unbatched else max(BATCH_SIZES), preprocessing)
    session = cpu_session(path)
    expected = reference.run(feeds)
    ranked = signature.classes is not None
    if signature.unbatched:
        batches: tuple[BatchError, ...] = (compare(expected, run_session(session, feeds), 1, ranked=False),)
    else:
        batches = tuple(
            compare(first(expected, size), run_session(session, rows(feeds, size)), size, ranked=ranked)
            for size in BATCH_SIZES
        )
    one, answer = (feeds, expected) if signature.unbatched else (rows(feeds, 1), first(expected, 1))
    judge(name, Certificate(reference.label, tolerance, batches))
    return Certificate(
        reference.label,
        tolerance,
        batches,
        fp64=fp64_distance(reference, one, answer, ranked=ranked),
        fp16=fp16_estimate(path, one, answer, ranked=ranked),
    )


def judge(name: str, certificate: Certificate) -> None:
    """Raise VerificationFailed unless every batch is within the tolerance and flips no class."""
    for batch in certificate.batches:
        # Written so that NaN fails.
        if not batch.relative_error <= certificate.tolerance:
            raise VerificationFailed(
                name,
                f"at batch {batch.batch_size} its answers differ from those of {certificate.reference} by "
                f"{batch.relative_error:.1e} of the largest, above the tolerance of {certificate.tolerance:g}",
            )
        for place, flips in (("another top-1 class", batch.top1_flips), ("other top-5 classes", batch.top5_flips)):
            if flips:
                raise VerificationFailed(
                    name, f"at batch {batch.batch_size} {flips} of its images have {place} than {certificate.reference}"
                )


def compare(expected: Sequence[Array], answered: Sequence[Array], batch_size: int, *, ranked: bool) -> BatchError:
    """The errors of the output that is furthest off; its classes, where the only output is `ranked`, [N,classes]."""
    errors = [output_error(want, got, batch_size) for want, got in zip(expected, answered, strict=True)]
    worst = max(errors, key=lambda error: (np.isnan(error.relative_error), error.relative_error))
    return with_ranks(worst, expected[0], answered[0]) if ranked else worst


def output_error(expected: Array, answered: Array, batch_size: int) -> BatchError:
    """Of one output; what cannot be subtracted, or has another shape, is equal or infinitely far."""
    if expected.shape != answered.shape or expected.dtype.kind in "OUS":
        same = expected.shape == answered.shape and bool((expected == answered).all())
        off = 0.0 if same else float("inf")
        return BatchError(batch_size, off, off, 1.0)
    want, got = expected.astype(np.float64), answered.astype(np.float64)
    # Infinities of one sign agree; subtracted they would be NaN.
    difference = np.abs(np.subtract(want, got, out=np.zeros_like(want), where=want != got))
    return BatchError(
        batch_size,
        float(difference.max(initial=0)),
        float(np.sqrt(np.mean(difference**2))) if difference.size else 0.0,
        float(np.abs(want).max(initial=0)),
    )


def with_ranks(error: BatchError, expected: Array, answered: Array) -> BatchError:
    """The error with how many first classes, and sets of first five, agree, and which of the others count."""
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


def fp64_distance(reference: Reference, feeds: Feeds, answer: Sequence[Array], *, ranked: bool) -> BatchError | None:
    """How far the reference's own arithmetic is from exact."""
    exact = reference.run_fp64(feeds)
    return None if exact is None else compare(exact, answer, 1, ranked=ranked)


def fp16_estimate(path: Path, feeds: Feeds, answer: Sequence[Array], *, ranked: bool) -> BatchError | None:
    """The distance of the graph's FP16 cast; None where the graph is too large to cast, or has nothing to."""
    model = onnx.load(path, load_external_data=False)
    weights = model.graph.initializer
    external = any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in weights)
    if external or not any(tensor.data_type == onnx.TensorProto.FLOAT for tensor in weights):
        return None
    try:
        cast = cpu_session(half(model).SerializeToString())
        return compare(answer, run_session(cast, feeds), 1, ranked=ranked)
    except Exception:  # noqa: BLE001 (a graph of the user's that cannot be cast is still a good FP32 graph)
        return None


def rows(feeds: Feeds, count: int) -> dict[str, Array]:
    """The first rows of every input."""
    return {name: array[:count] for name, array in feeds.items()}


def first(outputs: Sequence[Array], count: int) -> list[Array]:
    """The first rows of every output."""
    return [output[:count] for output in outputs]
