"""ONNX against torch: does the file that will be served compute what the network computes?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import torch

from generator import image
from generator.errors import VerificationFailed
from generator.networks import INPUT_DIMS
from generator.spec import BatchError, Certificate, Preprocessing
from generator.threads import torch_threads

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import nn

    Batch = npt.NDArray[np.float32]

BATCH_SIZES = (1, 4, 8)
TOLERANCE = 1e-4  # of max |difference| / max |logit|; fp32 itself is up to 1e-4 off fp64 on these nets
THREADS = 2  # fixed: the order of sums, and so the last bits, must not depend on the machine


def verify(name: str, module: nn.Module, onnx_bytes: bytes, preprocessing: Preprocessing) -> Certificate:
    """Compare ONNX Runtime with torch on batches of 1, 4 and 8.

    Raises:
        VerificationFailed: an error above the tolerance, or another top-1 class where torch's own margin
            between its first two classes exceeds the difference.
    """
    images = sample_images(max(BATCH_SIZES), preprocessing)
    reference = torch_logits(module, images)
    session = cpu_session(onnx_bytes)
    batches = tuple(compare(reference[:size], session.run(None, {"input": images[:size]})[0]) for size in BATCH_SIZES)
    certificate = Certificate(TOLERANCE, batches)
    judge(name, certificate)
    return certificate


def judge(name: str, certificate: Certificate) -> None:
    """Raise VerificationFailed unless every batch is within the tolerance and flips no class."""
    for batch in certificate.batches:
        # Written so that NaN fails.
        if not batch.relative_error <= certificate.tolerance:
            raise VerificationFailed(
                name,
                f"at batch {batch.batch_size} its logits differ from torch's by {batch.relative_error:.1e} "
                f"of the largest, above the tolerance of {certificate.tolerance:.0e}",
            )
        if batch.top1_flips:
            raise VerificationFailed(
                name, f"at batch {batch.batch_size} {batch.top1_flips} images have another top-1 class"
            )


def compare(reference: Batch, answer: Batch) -> BatchError:
    """Two [N,classes] arrays of logits, the first being torch's."""
    difference = np.abs(reference - answer)
    second, first = np.sort(reference, axis=1)[:, -2:].T
    decided = first - second > difference.max(axis=1)
    flipped = reference.argmax(axis=1) != answer.argmax(axis=1)
    return BatchError(
        batch_size=len(reference),
        max_abs_error=float(difference.max()),
        max_abs_logit=float(np.abs(reference).max()),
        top1_flips=int((flipped & decided).sum()),
    )


def sample_images(count: int, preprocessing: Preprocessing) -> Batch:
    """[count,3,224,224]: photographs first, then noise, every row another input."""
    photographs = [image.tensor(image.load(path), preprocessing) for path in image.PHOTOGRAPHS]
    noise = np.random.default_rng(0).standard_normal((count - len(photographs), *INPUT_DIMS), dtype=np.float32)
    return np.concatenate([np.stack(photographs), noise])


def torch_logits(module: nn.Module, images: Batch) -> Batch:
    """The logits of torch, [N,classes]."""
    with torch.no_grad(), torch_threads(THREADS):
        logits: Batch = module(torch.from_numpy(images)).numpy()
    return logits


def cpu_session(onnx_bytes: bytes) -> onnxruntime.InferenceSession:
    """ONNX Runtime on the CPU with a fixed thread count."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.log_severity_level = 3  # errors only
    return onnxruntime.InferenceSession(onnx_bytes, options, providers=["CPUExecutionProvider"])
