"""Users' ONNX files, and readers of their published models."""

import json

import numpy as np
import onnxruntime
from google.protobuf import text_format
from helpers import onnx_model
from tritonclient.grpc.model_config_pb2 import ModelConfig

MATRIX = np.arange(6, dtype=np.float32).reshape(3, 2)


def assert_product(answer, left, right):
    """Fail unless a float32 matrix is the product of two, to the rounding of sums in any order.

    The bound is twice that of Higham, Accuracy and Stability of Numerical Algorithms, section 3.5: each of n products and
    n sums rounds by half an epsilon, whatever kernel the processor has.
    """
    exact, magnitudes = left.astype(np.float64) @ right, np.abs(left).astype(np.float64) @ np.abs(right)
    assert (np.abs(answer - exact) <= left.shape[1] * np.finfo(np.float32).eps * magnitudes).all()


def relu(shape, name="x", **options):
    """Return a model with one Relu."""
    return onnx_model([("Relu", [name], ["y"])], {name: ["fp32", *shape]}, {"y": ["fp32", *shape]}, **options)


def linear(**options):
    """Return a product of [N,3] and a constant matrix."""
    return onnx_model(
        [("MatMul", ["x", "w"], ["y"])], {"x": ["fp32", "N", 3]}, {"y": ["fp32", "N", 2]}, {"w": MATRIX}, **options
    )


def config(built):
    """Read the config with the schema of Triton."""
    return text_format.Parse((built.folder / "config.pbtxt").read_text(), ModelConfig())


def provenance(built):
    """Read the provenance."""
    return json.loads((built.folder / "provenance.json").read_text())


def served(built):
    """Open a session on the published graph."""
    return onnxruntime.InferenceSession(built.folder / "1" / "model.onnx", providers=["CPUExecutionProvider"])


def rows(*shape):
    """Return noise."""
    return np.random.default_rng(1).standard_normal(shape, dtype=np.float32)
