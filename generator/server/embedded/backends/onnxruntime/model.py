"""The Python-based backend `onnxruntime`: ONNX models on the CPU, with the configs of the C++ backend.

Triton 2.51 from pip has no libtriton_onnxruntime.so. A Python-based backend of that name takes the same config.pbtxt.
Core completes `platform` and `default_model_filename`. Accelerators for GPUs are ignored on a CPU, as in the C++
backend. The rules in `generator.checker.rules` refuse an invalid config with the messages of the C++ backend.

Triton's stub imports this file and calls TritonPythonModel in one process per instance.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils

from generator.checker.rules.basics import Refusal
from generator.checker.rules.session_parameters import session_settings
from generator.checker.rules.tensors import ModelTensor, autocompleted, check_io, is_complete
from generator.graph.datatypes import OF_ONNXRUNTIME

Config = Mapping[str, Any]
Array = np.ndarray[Any, Any]
Arrays = dict[str, Array]


class TritonPythonModel:
    """One instance of one model."""

    @staticmethod
    def auto_complete_config(auto_complete_model_config: Any) -> Any:  # noqa: ANN401 (Triton's own class)
        """Complete the config as `ModelState::AutoCompleteConfig` of the C++ backend does."""
        config = auto_complete_model_config.as_dict()
        if is_complete(config):
            return auto_complete_model_config
        session = open_session(model_path(config), config)
        try:
            filled = autocompleted(config, tensors(session.get_inputs()), tensors(session.get_outputs()))
        except Refusal as refusal:
            raise pb_utils.TritonModelException(str(refusal)) from refusal
        if "max_batch_size" in filled:
            auto_complete_model_config.set_max_batch_size(filled["max_batch_size"])
        if "dynamic_batching" in filled:
            auto_complete_model_config.set_dynamic_batching()
        for block in filled.get("input", ()):
            auto_complete_model_config.add_input(block)
        for block in filled.get("output", ()):
            auto_complete_model_config.add_output(block)
        return auto_complete_model_config

    def initialize(self, args: Mapping[str, str]) -> None:
        """Open the session and check the config against the model."""
        config = json.loads(args["model_config"])
        if args["model_instance_kind"] == "GPU":  # its latencies would be taken for a GPU's
            raise pb_utils.TritonModelException("the instance is of KIND_GPU, and this backend runs on the CPU only")
        self.name = config["name"]
        self.max_batch_size = config["max_batch_size"]
        self.session = open_session(model_path(config), config)
        inputs = tensors(self.session.get_inputs())
        try:
            check_io(config, inputs, tensors(self.session.get_outputs()))
        except Refusal as refusal:
            raise pb_utils.TritonModelException(str(refusal)) from refusal
        self.shapes = {tensor.name: tensor.shape for tensor in inputs}
        self.outputs = list(dict.fromkeys(entry["name"] for entry in config["output"]))
        # Buffers for a batch of several requests: memory pages that were used before are faster.
        self.gathered = {
            entry["name"]: np.empty((self.max_batch_size, *map(int, entry["dims"])), datatype)
            for entry in config["input"]
            if self.max_batch_size > 1
            and "reshape" not in entry
            and all(int(dim) > 0 for dim in entry["dims"])
            and (datatype := pb_utils.triton_string_to_numpy(entry["data_type"])) is not np.object_
        }

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer the requests of one batch with one run of the session."""
        if self.max_batch_size == 0:
            return [response for request in requests for response in self.answer([request])]
        return self.answer(requests)

    def answer(self, requests: Sequence[Any]) -> list[Any]:
        """Return one response per request, in order.

        If the batch fails, each request runs alone: one client's input does not fail another's request.
        """
        try:
            parts = self.run(requests)
        except Exception as error:  # noqa: BLE001 (the clients get every error)
            if len(requests) > 1:
                return [response for request in requests for response in self.answer([request])]
            failure = pb_utils.TritonError(backend_words(error))
            return [pb_utils.InferenceResponse(output_tensors=[], error=failure)]
        return [self.response(request, part) for request, part in zip(requests, parts, strict=True)]

    def run(self, requests: Sequence[Any]) -> list[Sequence[Array]]:
        """Run the session once and return the outputs of each request."""
        fed = [self.arrays(request) for request in requests]
        if len(requests) == 1:
            return [self.session.run(self.outputs, fed[0])]
        counts = [len(next(iter(arrays.values()))) for arrays in fed]
        results = self.session.run(self.outputs, self.gather(fed, sum(counts)))
        return [
            [result[end - count : end] for result in results]
            for count, end in zip(counts, np.cumsum(counts), strict=True)
        ]

    def arrays(self, request: Any) -> Arrays:  # noqa: ANN401
        """Return the inputs of a request as views of the memory that Triton shares with this process."""
        return {
            tensor.name(): as_fed(tensor.name(), tensor.as_numpy(), self.shapes[tensor.name()])
            for tensor in request.inputs()
            if tensor.name() in self.shapes
        }

    def gather(self, fed: Sequence[Arrays], total: int) -> Arrays:
        """Copy the inputs of several requests into one batch."""
        batch = {}
        for name in fed[0]:
            arrays = [arrays[name] for arrays in fed]
            buffer = self.gathered.get(name)
            batch[name] = np.concatenate(arrays, out=None if buffer is None else buffer[:total])
        return batch

    def response(self, request: Any, results: Sequence[Array]) -> Any:  # noqa: ANN401
        """Make the response with the outputs that a request asks for; the protocol sends a scalar as [1]."""
        wanted = set(request.requested_output_names())
        return pb_utils.InferenceResponse(
            output_tensors=[
                pb_utils.Tensor(name, result if np.ndim(result) else np.reshape(result, (1,)))
                for name, result in zip(self.outputs, results, strict=True)
                if name in wanted
            ]
        )


def as_fed(name: str, array: Array, shape: Sequence[int]) -> Array:
    """Convert an array for ONNX Runtime: decode strings; the protocol sends a scalar as [1].

    Raises:
        ValueError: a string is not UTF-8.
    """
    if array.dtype == np.object_:
        try:
            array = np.array([value.decode() for value in array.ravel()], np.object_).reshape(array.shape)
        except UnicodeDecodeError as error:
            raise ValueError(f"input '{name}' has a string that is not UTF-8: {error.reason}") from error
    return array if shape else array.reshape(())


def model_path(config: Config) -> Path:
    """Return `<version>/model.onnx`, or the file model.onnx in a folder of that name.

    The stub's Python uses ASCII for file names in any locale, so paths are tested as bytes.
    """
    path = Path(pb_utils.get_model_dir()) / (config.get("default_model_filename") or "model.onnx")
    if os.path.isdir(str(path).encode()):  # noqa: PTH112 (pathlib takes no bytes)
        path /= "model.onnx"
    if not os.path.exists(str(path).encode()):  # noqa: PTH110 (pathlib takes no bytes)
        raise pb_utils.TritonModelException(f"failed to stat file {path}")
    return path


def open_session(path: Path, config: Config) -> onnxruntime.InferenceSession:
    """Open a session on the CPU with the settings of the config."""
    try:
        settings = session_settings(config, accelerators=())
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, settings.graph_level)
        mode = "ORT_PARALLEL" if settings.parallel else "ORT_SEQUENTIAL"
        options.execution_mode = getattr(onnxruntime.ExecutionMode, mode)
        instances = sum(max(1, int(group.get("count", 1))) for group in config.get("instance_group", [])) or 1
        available = len(os.sched_getaffinity(0))
        options.intra_op_num_threads = settings.intra_op_threads or max(1, available // instances)
        options.inter_op_num_threads = settings.inter_op_threads
        options.enable_cpu_mem_arena = settings.mem_arena
        options.enable_mem_pattern = settings.mem_pattern
        options.log_severity_level = 3  # errors only
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Refusal as refusal:
        raise pb_utils.TritonModelException(str(refusal)) from refusal
    except Exception as error:
        raise pb_utils.TritonModelException(backend_words(error)) from error


def tensors(arguments: Sequence[Any]) -> list[ModelTensor]:
    """Return the inputs or outputs of a session; a symbolic dimension is -1."""
    return [
        ModelTensor(
            argument.name,
            OF_ONNXRUNTIME.get(argument.type, "TYPE_INVALID"),
            tuple(dim if isinstance(dim, int) else -1 for dim in argument.shape),
        )
        for argument in arguments
    ]


def backend_words(error: Exception) -> str:
    """Return an error of ONNX Runtime as the C++ backend writes it: `onnx runtime error 2: …`."""
    return re.sub(r"^\[ONNXRuntimeError\] : (\d+) : \w+ : ", r"onnx runtime error \1: ", str(error))
