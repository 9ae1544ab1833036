"""Every config of a build loads in a real Triton and has the requested values."""

import json
import urllib.request

import numpy as np
import pytest
import tritonclient.grpc as triton
from google.protobuf import text_format
from helpers import run_program, serving, small_onnx, write_model
from tritonclient.grpc.model_config_pb2 import ModelConfig

from generator.config.targets import GPUS
from generator.server.probe import TritonClient
from generator.types import PRECISIONS

pytestmark = pytest.mark.server

VARIANTS = [f"{gpu.name}-{precision}" for gpu in GPUS for precision in PRECISIONS]
NAMES = ("densenet121", "dpn68")


def accelerator(config):
    """Return the parameters of a config's tensorrt accelerator."""
    (entry,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    return dict(entry.parameters)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_target_config_loads(two_networks, variant):
    """`--model-config-name` serves a target's config: a DenseNet and a DPN are READY with it."""
    with (
        serving(two_networks, "--engine", "embedded", "--model-config-name", variant) as server,
        triton.InferenceServerClient(server.url) as client,
    ):
        assert TritonClient(server.url).ready_models() == NAMES
        for name in NAMES:
            check_accelerator(accelerator(client.get_model_config(name).config), name, variant)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_target_config_differs_in_its_accelerator_alone(two_networks, variant):
    """The CPU ignores that block, so a config loads if the default one does."""
    check_variant(two_networks, NAMES, variant)


def check_variant(repository, names, variant):
    """Check that a target's configs have its accelerator, and are the default ones without it."""
    for name in names:
        default, config = (
            text_format.Parse((repository / name / file).read_text(), ModelConfig())
            for file in ("config.pbtxt", f"configs/{variant}.pbtxt")
        )
        check_accelerator(accelerator(config), name, variant)
        for message in (default, config):
            message.optimization.ClearField("execution_accelerators")
        assert config == default, name


def check_accelerator(parameters, name, variant):
    """Assert the precision and the cache of a variant."""
    precision = variant.partition("-")[2]
    assert parameters["precision_mode"] == precision.upper()
    assert parameters["trt_engine_cache_path"] == f"/cache/{name}-{precision}"


def test_default_configs_load(server):
    """The models are READY with `config.pbtxt`, whose cache needs no mount."""
    check_default_configs(server.url, NAMES)


def check_default_configs(url, names):
    """Check that a server has these models alone, with their default configs."""
    assert TritonClient(url).ready_models() == names
    with triton.InferenceServerClient(url) as client:
        configs = {name: client.get_model_config(name).config for name in names}
    caches = {accelerator(config)["trt_engine_cache_path"] for config in configs.values()}
    assert caches == {f"/tmp/tritongen-{name}-fp16" for name in names}


def test_options_on_a_real_server(tmp_path):
    """A model with every serving option loads, runs its largest batch, and answers a repeated request from the cache."""
    write = small_onnx()
    (tmp_path / "small.onnx").write_bytes(write.SerializeToString())
    (tmp_path / "serving.toml").write_text(
        "max_batch_size = 16\n[models.small]\npreferred_batch_sizes = [2, 16]\nmax_queue_delay_us = 0\ninstance_count = 2\n"
        "workspace_mib = 256\nprofile = [1, 2, 16]\nbuilder_optimization_level = 2\nresponse_cache = true\n"
        "accelerator = { trt_sparsity_enable = true }\n"
    )
    built = run_program("build", "--onnx", "small.onnx", "--config", "serving.toml", cwd=tmp_path)
    assert built.status == 0, built.stderr
    images = np.random.default_rng(0).standard_normal((16, 3, 224, 224), dtype=np.float32)
    with serving(tmp_path / "model_repository") as server, triton.InferenceServerClient(server.url) as client:
        request = triton.InferInput("input", list(images.shape), "FP32")
        request.set_data_from_numpy(images)
        first, second = (client.infer("small", [request]).as_numpy("output") for _ in range(2))
        statistics = client.get_inference_statistics("small").model_stats[0].inference_stats
        config = client.get_model_config("small").config
    np.testing.assert_array_equal(first, second)
    assert (statistics.cache_hit.count, statistics.cache_miss.count) == (1, 1)
    assert [group.count for group in config.instance_group] == [2]
    assert list(config.dynamic_batching.preferred_batch_size) == [2, 16]


def test_no_response_cache_by_default(tmp_path):
    """Triton gets a response cache only if a config asks for it."""
    write_model(tmp_path / "repo", "small")
    printed = run_program("serve", "repo", "--engine", "embedded", "--print", cwd=tmp_path)
    assert "--cache-config" not in printed.stdout


def test_verbose_shows_the_log(tmp_path):
    """With `-v`, the lines of Triton's log are shown before it is READY."""
    write_model(tmp_path / "repo", "small")
    with serving(tmp_path / "repo", "-v") as server:
        url = f"http://{server.ports.http_url}/v2/models/small/config"
        with urllib.request.urlopen(url) as answer:
            assert json.load(answer)["max_batch_size"] == 8
    assert any("model_lifecycle.cc" in line for line in server.lines)
