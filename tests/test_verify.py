"""The comparison that decides whether a model is published."""

import dataclasses

import numpy as np
import pytest
import torch
from helpers import small_onnx
from onnx import numpy_helper

from generator.errors import VerificationFailed
from generator.spec import BatchError, Certificate, Preprocessing
from generator.verify import compare, judge, sample_images, verify


class Small(torch.nn.Module):
    """What `small_onnx` computes."""

    def __init__(self):
        super().__init__()
        self.weight = torch.from_numpy(numpy_helper.to_array(small_onnx().graph.initializer[0]).copy())

    def forward(self, x):
        return x.mean(dim=(2, 3)) @ self.weight


def test_the_same_network_is_certified():
    """Batches of 1, 4 and 8, errors in the last bits, no flips."""
    certificate = verify("small", Small(), small_onnx().SerializeToString(), Preprocessing())
    assert [batch.batch_size for batch in certificate.batches] == [1, 4, 8]
    assert 0 <= certificate.worst.relative_error < 1e-5
    assert certificate == verify("small", Small(), small_onnx().SerializeToString(), Preprocessing())


@pytest.mark.parametrize("damage", [1e-3, float("nan")])
def test_a_damaged_graph_is_not(damage):
    """One weight a little off, or NaN, fails with the model's name and the figures."""
    model = small_onnx()
    weight = numpy_helper.to_array(model.graph.initializer[0]).copy()
    weight[0, 7] += damage
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "weight"))
    with pytest.raises(VerificationFailed, match=r"small was not published: at batch 1 its logits differ"):
        verify("small", Small(), model.SerializeToString(), Preprocessing())


def test_a_flip_counts_only_where_torch_was_decided():
    """Row 1 flips within its own error, row 2 flips although torch's margin is larger than the error."""
    reference = np.array([[1.0, 1.00001, 0.0], [3.0, 2.0, 0.0]], np.float32)
    nearly = compare(reference, reference + np.array([[2e-5, 0, 0], [0, 0, 0]], np.float32))
    assert nearly.top1_flips == 0
    flipped = compare(reference, np.array([[1.0, 1.00001, 0.0], [2.4, 2.6, 0.0]], np.float32))
    assert flipped.top1_flips == 1
    assert flipped.max_abs_logit == 3.0
    assert flipped.max_abs_error == pytest.approx(0.6)


def test_flips_and_errors_are_judged_apart():
    """A flip fails however small the error; the tolerance is a bound that may be met."""
    good = BatchError(batch_size=4, max_abs_error=1e-4, max_abs_logit=1.0, top1_flips=0)
    judge("small", Certificate(1e-4, (good,)))
    with pytest.raises(VerificationFailed, match="at batch 4 1 images have another top-1 class"):
        judge("small", Certificate(1e-4, (dataclasses.replace(good, top1_flips=1),)))
    with pytest.raises(VerificationFailed, match=r"1\.1e-04 of the largest, above the tolerance of 1e-04"):
        judge("small", Certificate(1e-4, (dataclasses.replace(good, max_abs_error=1.1e-4),)))


def test_every_row_is_another_image():
    """Photographs first; no two rows alike."""
    images = sample_images(8, Preprocessing())
    assert images.shape == (8, 3, 224, 224)
    assert images.dtype == np.float32
    assert len({row.tobytes() for row in images}) == 8
