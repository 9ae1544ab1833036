"""ONNX files of the user's own, and what became of them."""

import json

import numpy as np
import onnxruntime
from google.protobuf import text_format
from helpers import onnx_model
from tritonclient.grpc.model_config_pb2 import ModelConfig

MATRIX = np.arange(6, dtype=np.float32).reshape(3, 2)


def relu(shape, name="x", **options):
    """One operator."""
    return onnx_model([("Relu", [name], ["y"])], {name: ["fp32", *shape]}, {"y": ["fp32", *shape]}, **options)


def linear(**options):
    """[N,3] by a constant matrix."""
    return onnx_model(
        [("MatMul", ["x", "w"], ["y"])], {"x": ["fp32", "N", 3]}, {"y": ["fp32", "N", 2]}, {"w": MATRIX}, **options
    )


def config(built):
    """What Triton reads."""
    return text_format.Parse((built.folder / "config.pbtxt").read_text(), ModelConfig())


def provenance(built):
    """What made it."""
    return json.loads((built.folder / "provenance.json").read_text())


def served(built):
    """A session on what was published."""
    return onnxruntime.InferenceSession(built.folder / "1" / "model.onnx", providers=["CPUExecutionProvider"])


def rows(*shape):
    """Noise."""
    return np.random.default_rng(1).standard_normal(shape, dtype=np.float32)
