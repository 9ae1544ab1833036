"""The configs: two networks against golden files, all ten by invariants."""

import dataclasses
import re

import jinja2
import pytest
from google.protobuf import text_format
from helpers import ROOT
from tritonclient.grpc.model_config_pb2 import ModelConfig

from generator import render
from generator.networks import NETWORKS, select
from generator.render import config_text, default_config, quote, target_configs
from generator.spec import BuildOptions, Described, Preprocessing, Signature, TensorSpec, Weights

SIGNATURE = Signature((TensorSpec("input", "TYPE_FP32", (3, 224, 224)),), (TensorSpec("output", "TYPE_FP32", (1000,)),))
GOLDEN = ROOT / "tests" / "golden"
# onnxruntime_backend r24.04 (src/onnxruntime.cc) knows these and more; the configs use no others.
ACCELERATOR_KEYS = {
    "precision_mode",
    "max_workspace_size_bytes",
    "trt_engine_cache_enable",
    "trt_engine_cache_path",
    "trt_timing_cache_enable",
    "trt_timing_cache_path",
    "trt_profile_min_shapes",
    "trt_profile_opt_shapes",
    "trt_profile_max_shapes",
}


def configs(network, **options):
    """Every config of a network by its path in the model's folder."""
    described = Described(network.name, SIGNATURE, Weights("random", 0), Preprocessing(), labelled=True)
    arguments = (described, BuildOptions(**options))
    variants = {f"configs/{name}": variant for name, variant in target_configs(*arguments).items()}
    return {"config.pbtxt": default_config(*arguments), **variants}


def parsed(model):
    """What Triton's own schema reads."""
    return text_format.Parse(config_text(model), ModelConfig())


@pytest.mark.parametrize("name", ["densenet121", "dpn92"])
def test_golden_files(name):
    """All five files of the two networks, whole; none more, none less."""
    written = {path: config_text(model) for path, model in configs(select([name])[0]).items()}
    golden = {str(path.relative_to(GOLDEN / name)): path.read_text() for path in (GOLDEN / name).rglob("*.pbtxt")}
    assert written == golden


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
@pytest.mark.parametrize("max_batch_size", [1, 2, 8, 32])
def test_invariants(network, max_batch_size):
    """What holds for every file that is written."""
    for path, model in configs(network, max_batch_size=max_batch_size).items():
        config = parsed(model)
        assert text_format.Parse(text_format.MessageToString(config), ModelConfig()) == config
        assert (config.name, config.backend) == (network.name, "onnxruntime")
        assert config.max_batch_size == max_batch_size
        assert list(config.input[0].dims) == [3, 224, 224]
        assert list(config.output[0].dims) == [1000]
        assert config.output[0].label_filename == "labels.txt"
        assert [group.count for group in config.instance_group] == [1]
        assert config.instance_group[0].kind == 0  # KIND_AUTO: the GPU where there is one
        assert config.HasField("version_policy")
        preferred = list(config.dynamic_batching.preferred_batch_size)
        assert preferred
        assert all(1 <= size <= max_batch_size for size in preferred)
        assert config.dynamic_batching.max_queue_delay_microseconds > 0
        warmed = {sample.batch_size for sample in config.model_warmup}
        assert warmed == {1, max_batch_size}
        assert all(sample.inputs["input"].zero_data for sample in config.model_warmup)
        check_accelerator(config, path, max_batch_size)


def check_accelerator(config, path, max_batch_size):
    """One tensorrt block, known keys, one profile that ends at the largest batch, a cache that can be made."""
    (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    parameters = dict(accelerator.parameters)
    assert accelerator.name == "tensorrt"
    assert set(parameters) == ACCELERATOR_KEYS
    precision = re.search(r"fp\d\d", path)
    assert parameters["precision_mode"] == (precision.group().upper() if precision else "FP16")
    assert parameters["trt_engine_cache_enable"] == parameters["trt_timing_cache_enable"] == "1"
    assert int(parameters["max_workspace_size_bytes"]) > 0
    smallest, best, largest = (
        int(re.fullmatch(r"input:(\d+)x3x224x224", parameters[f"trt_profile_{end}_shapes"]).group(1))
        for end in ("min", "opt", "max")
    )
    assert 1 == smallest <= best <= largest == max_batch_size
    # The provider makes the folder without its parents.
    cache = parameters["trt_engine_cache_path"]
    assert re.fullmatch(r"/(tmp|cache)/[a-z0-9-]+", cache)
    assert cache.startswith("/tmp/") == (path == "config.pbtxt")


def test_every_variant_has_its_own_cache_and_precision():
    """The fp16 and fp32 engines of a model never share a folder."""
    caches = {path: model.tensorrt for path, model in configs(select(["dpn92"])[0], precision="fp32").items()}
    assert caches["config.pbtxt"].precision == "fp32"
    assert {trt.cache_path for trt in caches.values()} == {
        "/tmp/tritongen-dpn92-fp32",
        "/cache/dpn92-fp16",
        "/cache/dpn92-fp32",
    }


def test_strings_are_quoted_for_the_text_format():
    """Quotes, backslashes, newlines and other scripts survive."""
    for text in ('a"b', "a\\b", "two\nlines", "ünï", ""):
        name = f"parameters {{ key: {quote(text)} value {{ string_value: {quote(text)} }} }}"
        assert dict(text_format.Parse(name, ModelConfig()).parameters)[text].string_value == text


def test_an_undefined_name_fails(monkeypatch, tmp_path):
    """A template that asks for what is not there does not write an empty string."""
    (tmp_path / "config.pbtxt.j2").write_text("max_batch_size: {{ model.max_batch }}\n")
    monkeypatch.setattr(render, "template_folder", lambda: tmp_path)
    with pytest.raises(jinja2.UndefinedError, match="max_batch"):
        config_text(configs(NETWORKS[0])["config.pbtxt"])


def test_a_model_is_described_by_frozen_values():
    """Steps cannot change what another step made."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        configs(NETWORKS[0])["config.pbtxt"].name = "other"
