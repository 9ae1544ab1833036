"""Verification of a graph before it is published."""

import dataclasses

import numpy as np
import onnx
import pytest
import torch
from helpers import small_onnx
from onnx import TensorProto, helper, numpy_helper

from generator.errors import VerificationFailed
from generator.graph.signature import signature
from generator.types import Preprocessing, TensorSpec
from generator.verify import samples
from generator.verify.certificate import BatchError, Certificate
from generator.verify.compare import check_errors, compare, verify
from generator.verify.references import OnnxReference, TorchReference

IMAGE = TensorSpec("input", "TYPE_FP32", (3, 224, 224))


class Small(torch.nn.Module):
    """The torch module of `small_onnx`."""

    def __init__(self, scale=1.0):
        super().__init__()
        weight = torch.from_numpy(numpy_helper.to_array(small_onnx().graph.initializer[0]).copy())
        self.weight = torch.nn.Parameter(scale * weight, requires_grad=False)

    def forward(self, x):
        return x.mean(dim=(2, 3)) @ self.weight


def certify(folder, model, reference=None, **options):
    """Write a graph and return its certificate."""
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    options = {"preprocessing": Preprocessing(), **options}
    return verify(
        "small", path, onnx.load(path), reference or TorchReference(Small()), signature("small", model), **options
    )


def test_certificate_of_the_same_network(tmp_path):
    """Batches of 1, 4 and 8 have small errors and equal classes; the FP16 error is larger."""
    certificate = certify(tmp_path, small_onnx())
    assert certificate.reference == "torch"
    assert [batch.batch_size for batch in certificate.batches] == [1, 4, 8]
    for batch in certificate.batches:
        assert 0 < batch.relative_rms < batch.relative_error < 1e-5
        assert (batch.top1_agree, batch.top5_agree) == (batch.batch_size, batch.batch_size)
        assert (batch.top1_flips, batch.top5_flips) == (0, 0)
    assert 0 < certificate.fp64.relative_error < 1e-5
    assert 1e-5 < certificate.fp16.relative_error < 1e-2
    assert certificate == certify(tmp_path, small_onnx())


def test_double_precision_keeps_the_module():
    """The weights have the same bits afterwards."""
    module = Small()
    before = module.weight.clone()
    feeds = samples.feeds((IMAGE,), 1, Preprocessing())
    assert TorchReference(module).run_fp64(feeds)[0].dtype == np.float64
    assert torch.equal(module.weight, before)


@pytest.mark.parametrize("damage", [1e-3, float("nan")])
def test_damaged_graph_fails(tmp_path, damage):
    """A changed or NaN weight fails with the model's name."""
    model = small_onnx()
    weight = numpy_helper.to_array(model.graph.initializer[0]).copy()
    weight[0, 7] += damage
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "weight"))
    with pytest.raises(
        VerificationFailed, match=r"small was not published: at batch [14] its answers differ from those of torch"
    ):
        certify(tmp_path, model)


def test_smaller_tolerance(tmp_path):
    """An error that passes at 1e-4 fails at 1e-5; it is larger than the rounding of any kernel."""
    certify(tmp_path, small_onnx(), TorchReference(Small(1 + 5e-5)))
    with pytest.raises(VerificationFailed, match="above the tolerance of 1e-05"):
        certify(tmp_path, small_onnx(), TorchReference(Small(1 + 5e-5)), tolerance=1e-5)


def test_flips_need_a_margin():
    """A changed class is a flip only if the margin of torch exceeds the error."""
    reference = np.array([[1.0, 1.00001, 0.0], [3.0, 2.0, 0.0]], np.float32)
    nearly = compare([reference], [reference + np.array([[2e-5, 0, 0], [0, 0, 0]], np.float32)], 2, ranked=True)
    assert (nearly.top1_agree, nearly.top1_flips) == (1, 0)
    flipped = compare([reference], [np.array([[1.0, 1.00001, 0.0], [2.4, 2.6, 0.0]], np.float32)], 2, ranked=True)
    assert (flipped.top1_agree, flipped.top1_flips) == (1, 1)
    assert flipped.top5_agree is None  # three classes have no first five
    assert flipped.max_abs_logit == 3.0
    assert flipped.max_abs_error == pytest.approx(0.6)
    assert flipped.rms_error == pytest.approx((2 * 0.6**2 / 6) ** 0.5)


def test_top5_is_a_set():
    """The order within the top 5 does not count."""
    reference = np.array([[9.0, 8.0, 7.0, 6.0, 5.0, 1.0, 0.0]], np.float32)
    swapped = reference[:, [1, 0, 2, 3, 4, 5, 6]]
    assert compare([reference], [swapped], 1, ranked=True).top5_agree == 1
    other = np.array([[9.0, 8.0, 7.0, 6.0, 2.9, 3.0, 0.0]], np.float32)
    error = compare([reference], [other], 1, ranked=True)
    assert (error.top5_agree, error.top5_flips) == (0, 1)
    assert (error.top1_agree, error.top1_flips) == (1, 0)


def test_flips_fail_below_the_tolerance():
    """A flip fails at any error; an error equal to the tolerance passes."""
    good = BatchError(batch_size=4, max_abs_error=1e-4, rms_error=1e-5, max_abs_logit=1.0)
    check_errors("small", Certificate("torch", "noise", 1e-4, (good,)))
    with pytest.raises(VerificationFailed, match="at batch 4 1 of its images have another top-1 class than torch"):
        check_errors("small", Certificate("torch", "noise", 1e-4, (dataclasses.replace(good, top1_flips=1),)))
    with pytest.raises(VerificationFailed, match="at batch 4 2 of its images have other top-5 classes than torch"):
        check_errors("small", Certificate("torch", "noise", 1e-4, (dataclasses.replace(good, top5_flips=2),)))
    with pytest.raises(VerificationFailed, match=r"1\.1e-04 of the largest, above the tolerance of 0.0001"):
        check_errors("small", Certificate("torch", "noise", 1e-4, (dataclasses.replace(good, max_abs_error=1.1e-4),)))


@pytest.mark.parametrize(
    ("expected", "answered", "relative"),
    [
        ([0.0, 0.0], [0.0, 0.0], 0.0),
        ([0.0, 0.0], [0.0, 1e-9], float("inf")),
        ([np.inf, 2.0], [np.inf, 2.0], 0.0),
        ([1.0, 2.0], [1.0, np.inf], float("inf")),
        ([[1.0]], [1.0], float("inf")),
        (["a", "b"], ["a", "b"], 0.0),
        (["a", "b"], ["a", "c"], float("inf")),
        ([1, 2], [1, 3], 0.5),
        ([True, False], [True, True], 1.0),
    ],
)
def test_errors_of_all_types(expected, answered, relative):
    """Zeros, infinities, different shapes, strings, integers and booleans."""
    as_array = lambda values: np.array(values, np.object_ if isinstance(values[0], str) else None)  # noqa: E731
    assert compare([as_array(expected)], [as_array(answered)], 2, ranked=False).relative_error == relative


def test_largest_error_over_outputs():
    """The largest error counts, and NaN counts as the largest."""
    one, two = np.array([[1.0, 2.0]]), np.array([[1.0]])
    assert compare([one, two], [one, two * 1.5], 1, ranked=False).relative_error == 0.5
    assert np.isnan(compare([one, two], [one * np.nan, two * 1.5], 1, ranked=False).relative_error)


def test_onnx_reference_with_a_fixed_batch(tmp_path):
    """The file runs in parts of its fixed batch; the last rows are repeated."""
    fixed = tmp_path / "fixed.onnx"
    fixed.write_bytes(small_onnx(batch=3).SerializeToString())
    certificate = certify(tmp_path, small_onnx(), OnnxReference(fixed, rows=3))
    assert certificate.reference == "the file as given"
    assert certificate.worst.relative_error < 1e-5
    assert certificate.fp64 is None


def test_integers_are_not_cast_to_fp16(tmp_path):
    """A graph without floats has no FP16 error."""
    graph = helper.make_graph(
        [helper.make_node("Add", ["ids", "one"], ["more"])],
        "integers",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["N", 4])],
        [helper.make_tensor_value_info("more", TensorProto.INT64, ["N", 4])],
        [numpy_helper.from_array(np.array([1]), "one")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    path = tmp_path / "given.onnx"
    path.write_bytes(model.SerializeToString())
    certificate = certify(tmp_path, model, OnnxReference(path), preprocessing=None)
    assert certificate.worst.relative_error == 0
    assert certificate.worst.top1_agree is None
    assert certificate.fp16 is None


def test_sample_images_differ():
    """Photographs come first, and no two rows are equal."""
    images = samples.feeds((IMAGE,), 8, Preprocessing())["input"]
    assert images.shape == (8, 3, 224, 224)
    assert images.dtype == np.float32
    assert len({row.tobytes() for row in images}) == 8
    last = TensorSpec("input", "TYPE_FP32", (224, 224, 3))
    assert np.array_equal(samples.feeds((last,), 2, Preprocessing())["input"].transpose(0, 3, 1, 2), images[:2])
