"""What a running Triton says of itself: its models, their device and precision, its GPUs."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import urllib.request
from typing import TYPE_CHECKING, Any, Self

import tritonclient.grpc as triton
from tritonclient.grpc.model_config_pb2 import DataType

from generator.config.tensorrt_parameters import PROFILE_KEYS
from generator.errors import ModelNotServed, ServerUnreachable
from generator.server.served_model import ServedModel
from generator.types import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from generator.types import Precision

TIMEOUT_S = 5.0
# Nothing that answers (URLError is an OSError), an answer that is none, and no address or no JSON.
NO_HTTP = (OSError, http.client.HTTPException, ValueError)


class TritonClient:
    """The Triton at `host:port`: one gRPC connection for all questions."""

    def __init__(self, url: str) -> None:
        """Take the address; the first question connects."""
        self.url = url
        self.grpc = triton.InferenceServerClient(url)

    def __enter__(self) -> Self:
        """Use the connection until the end of the context."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Close the connection."""
        self.grpc.close()

    def answers(self) -> bool:
        """Return True if a live Triton answers."""
        try:
            return bool(self.grpc.is_server_live(client_timeout=TIMEOUT_S))
        except triton.InferenceServerException:
            return False

    def ready_models(self) -> tuple[str, ...]:
        """Return the names of the models that are READY, sorted.

        Raises:
            ServerUnreachable: the server does not answer.
        """
        index = self.ask(self.grpc.get_model_repository_index)
        return tuple(sorted({entry.name for entry in index.models if entry.state == "READY"}))

    def served_model(self, name: str) -> ServedModel:
        """Return how the server runs a model.

        Raises:
            ModelNotServed: the server has no such model ready.
        """
        try:
            config = self.grpc.get_model_config(name, client_timeout=TIMEOUT_S).config
            metadata = self.grpc.get_model_metadata(name, client_timeout=TIMEOUT_S)
        except triton.InferenceServerException as error:
            raise ModelNotServed(name, self.url, self.ready_models()) from error
        # Core has resolved KIND_AUTO by now: 1 is KIND_GPU (model_config.proto).
        on_gpu = any(group.kind == 1 for group in config.instance_group)
        return ServedModel(
            name=name,
            version=max(metadata.versions, key=int),
            max_batch_size=config.max_batch_size,
            device="gpu" if on_gpu else "cpu",
            precision=served_precision(config) if on_gpu else "fp32",
            inputs=tuple(map(tensor, config.input)),
            outputs=tuple(map(tensor, config.output)),
            parameters={key: value.string_value for key, value in config.parameters.items()},
            instances=sum(group.count for group in config.instance_group) or 1,
            static_batch=static_batch(config, on_gpu=on_gpu),
            config_sha256=hashlib.sha256(config.SerializeToString(deterministic=True)).hexdigest(),
        )

    def server_version(self) -> str:
        """Return the version of Triton, such as 2.51.0.

        Raises:
            ServerUnreachable: the server does not answer.
        """
        return str(self.ask(self.grpc.get_server_metadata).version)

    def requests_answered(self, name: str) -> int:
        """Return how many requests of a model the server has answered, with a result or an error.

        Raises:
            ServerUnreachable: the server does not answer.
        """
        counts = [version.inference_stats for version in self.ask(self.grpc.get_inference_statistics, name).model_stats]
        return sum(count.success.count + count.fail.count for count in counts)

    def ask(self, question: Callable[..., Any], *arguments: str) -> Any:  # noqa: ANN401 (a protobuf message)
        """Return the answer to a question.

        Raises:
            ServerUnreachable: the server does not answer.
        """
        try:
            return question(*arguments, client_timeout=TIMEOUT_S)
        except triton.InferenceServerException as error:
            raise ServerUnreachable(self.url, error.message()) from error


def tensor(entry: Any) -> TensorSpec:  # noqa: ANN401 (a protobuf message)
    """An input or output of the config."""
    return TensorSpec(entry.name, DataType.Name(entry.data_type), tuple(entry.dims))


def static_batch(config: Any, *, on_gpu: bool) -> int | None:  # noqa: ANN401 (a protobuf message)
    """The one batch that a model is made for: nothing is gathered, and TensorRT's profile is of that batch alone."""
    if config.HasField("dynamic_batching") or config.HasField("sequence_batching"):
        return None
    if on_gpu:
        shapes = [
            {entry.parameters.get(key) for key in PROFILE_KEYS}
            for entry in config.optimization.execution_accelerators.gpu_execution_accelerator
            if entry.name == "tensorrt"
        ]
        if any(len(ends) != 1 for ends in shapes):
            return None
    return max(1, int(config.max_batch_size))


def http_answers(url: str) -> bool:
    """Whether a live Triton's HTTP is at `host:port`."""
    try:
        with urllib.request.urlopen(f"http://{url}/v2", timeout=TIMEOUT_S) as answer:
            return "version" in json.loads(answer.read(1 << 20))
    except NO_HTTP:
        return False


def gpu_uuids(metrics_url: str) -> tuple[str, ...]:
    """The GPUs that a server's metrics speak of, by UUID; none where they do not answer."""
    try:
        with urllib.request.urlopen(f"http://{metrics_url}/metrics", timeout=TIMEOUT_S) as answer:
            text = answer.read(1 << 22).decode(errors="replace")
    except NO_HTTP:
        return ()
    return tuple(dict.fromkeys(re.findall(r'gpu_uuid="([^"]+)"', text)))


def served_precision(config: Any) -> Precision:  # noqa: ANN401 (a protobuf message)
    """FP16 where the TensorRT accelerator is told so; else the graph's own FP32."""
    accelerators = config.optimization.execution_accelerators.gpu_execution_accelerator
    modes = [entry.parameters.get("precision_mode") for entry in accelerators if entry.name == "tensorrt"]
    return "fp16" if "FP16" in modes else "fp32"
