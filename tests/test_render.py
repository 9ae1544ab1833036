"""Configs: golden files for two networks, and invariants for all networks."""

import dataclasses
import re

import pytest
from config_invariants import INVARIANTS, Written
from google.protobuf import text_format
from helpers import ROOT
from tritonclient.grpc.model_config_pb2 import ModelConfig

from generator.config.render import check_templates, config_text, default_config, target_configs
from generator.config.serving import SERVING, in_force, validated
from generator.config.types import BuildOptions, Described
from generator.errors import TemplateUnusable
from generator.networks import NETWORKS, select
from generator.system.templates import quote
from generator.types import Preprocessing, Signature, TensorSpec, Weights

SIGNATURE = Signature((TensorSpec("input", "TYPE_FP32", (3, 224, 224)),), (TensorSpec("output", "TYPE_FP32", (1000,)),))
GOLDEN = ROOT / "tests" / "golden"


def configs(name, precision="fp16", digest="0" * 64, **serving):
    """Return every config of a network by its path in the model folder."""
    described = Described(name, SIGNATURE, Weights("random", 0), Preprocessing(), labelled=True, digest=digest)
    gpus = ("v100", "t4")
    options = BuildOptions(precision=precision, gpus=gpus, serving=in_force([("", validated(SERVING, serving))], gpus))
    variants = {f"configs/{file}": variant for file, variant in target_configs(described, options).items()}
    return {"config.pbtxt": default_config(described, options), **variants}


def parsed(text):
    """Parse a text with Triton's schema."""
    return text_format.Parse(text, ModelConfig())


@pytest.mark.parametrize("name", ["densenet121", "dpn92"])
def test_golden_files(name):
    """All five files of each network are equal to the golden files."""
    written = {path: config_text(model) for path, model in configs(select([name])[0].name).items()}
    golden = {str(path.relative_to(GOLDEN / name)): path.read_text() for path in (GOLDEN / name).rglob("*.pbtxt")}
    assert written == golden


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
@pytest.mark.parametrize("max_batch_size", [1, 2, 8, 32])
@pytest.mark.parametrize("default", ["fp16", "fp32"])
def test_invariants(network, max_batch_size, default):
    """Every config holds all invariants."""
    for path, model in configs(network.name, default, max_batch_size=max_batch_size).items():
        config = parsed(config_text(model))
        assert text_format.Parse(text_format.MessageToString(config), ModelConfig()) == config
        precision = default if path == "config.pbtxt" else re.search(r"fp\d\d", path).group()
        for holds in INVARIANTS:
            holds(Written(config, path, network.name, max_batch_size, precision))


@pytest.mark.parametrize("broken", INVARIANTS, ids=lambda invariant: invariant.__name__)
def test_each_invariant_can_break(broken):
    """A broken config fails the invariant."""
    path = "configs/v100-fp32.pbtxt"
    good = config_text(configs("densenet121")[path])
    pattern, replacement = INVARIANTS[broken]
    text = good.replace(pattern, replacement) if pattern in good else re.sub(pattern, replacement, good)
    assert text != good
    with pytest.raises((AssertionError, KeyError)):
        broken(Written(parsed(text), path, "densenet121", 8, "fp32"))


def test_every_variant_has_its_own_cache_and_precision():
    """FP16 and FP32 engines of a model are in different folders."""
    caches = {path: dict(model.accelerator) for path, model in configs("dpn92", "fp32").items()}
    assert caches["config.pbtxt"]["precision_mode"] == "FP32"
    assert {parameters["trt_engine_cache_path"] for parameters in caches.values()} == {
        "/tmp/tritongen-dpn92-fp32",
        "/cache/dpn92-fp16",
        "/cache/dpn92-fp32",
    }


def test_engine_prefix_depends_on_model_and_options():
    """Different weights and engine options have different prefixes."""

    def prefix(**options):
        return dict(configs("dpn92", **options)["configs/t4-fp16.pbtxt"].accelerator)["trt_engine_cache_prefix"]

    assert prefix() == prefix(instance_count=2, max_queue_delay_us=0, warmup=False)
    others = [
        prefix(digest="1" * 64), prefix(max_batch_size=16), prefix(workspace_mib=2048), prefix(profile=[1, 4, 8]),
        prefix(builder_optimization_level=5), prefix(accelerator={"trt_sparsity_enable": True}),
    ]  # fmt: skip
    assert len({prefix(), *others}) == len(others) + 1


def test_options_reach_the_config():
    """Each serving option sets Triton's field."""
    written = configs(
        "dpn92", max_batch_size=16, preferred_batch_sizes=[16, 2], max_queue_delay_us=0, instance_count=3,
        workspace_mib=512, profile=[1, 4, 16], builder_optimization_level=5, response_cache=True, warmup=False,
        accelerator={"trt_layer_norm_fp32_fallback": True, "trt_auxiliary_streams": 0},
    )  # fmt: skip
    for path, model in written.items():
        config = parsed(config_text(model))
        assert list(config.dynamic_batching.preferred_batch_size) == [2, 16]
        assert config.dynamic_batching.max_queue_delay_microseconds == 0
        assert [group.count for group in config.instance_group] == [3]
        assert config.response_cache.enable
        assert not config.model_warmup
        parameters = Written(config, path, "dpn92", 16, "fp16").accelerator
        assert parameters["max_workspace_size_bytes"] == str(512 << 20)
        assert parameters["trt_builder_optimization_level"] == "5"
        assert parameters["trt_layer_norm_fp32_fallback"] == "1"
        assert parameters["trt_auxiliary_streams"] == "0"
        assert [parameters[f"trt_profile_{end}_shapes"].partition("x")[0] for end in ("min", "opt", "max")] == [
            "input:1", "input:4", "input:16",
        ]  # fmt: skip


def test_strings_are_quoted_for_the_text_format():
    """Quotes, backslashes, newlines and other scripts are preserved."""
    for text in ('a"b', "a\\b", "two\nlines", "ünï", ""):
        name = f"parameters {{ key: {quote(text)} value {{ string_value: {quote(text)} }} }}"
        assert dict(parsed(name).parameters)[text].string_value == text


OURS = (ROOT / "templates" / "config.pbtxt.j2").read_text()


def test_user_template(tmp_path):
    """A user's template replaces the built-in one and has the same values and filters."""
    (tmp_path / "config.pbtxt.j2").write_text(OURS + 'model_operations { op_library_filename: "ops.so" }\n')
    check_templates(tmp_path)
    for model in configs("dpn92").values():
        assert parsed(config_text(model, tmp_path)).model_operations.op_library_filename == ["ops.so"]


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        (
            "name: {{ model.nmae | quote }}",
            "line 1: 'generator.config.types.ModelConfig object' has no attribute 'nmae'",
        ),
        ("# one\n{{ modle }}", "line 2: 'modle' is undefined"),
        (OURS + "{% if model.dynamic_batching is none %}{{ only_unbatched }}{% endif %}", "'only_unbatched' is undef"),
        ("{% if %}", "line 1: Expected an expression"),
        ("name: {{ model.name | shout }}", "line 1: No filter named 'shout'."),
        (
            "max_batchsize: 8",
            'the result is not a valid config: 1:1 : Message type "inference.ModelConfig" has no field',
        ),
        ("name: {{ model.name }}", "the result is not a valid config: 1:7 : "),
        ("", "the name of stand-in must be stand-in, but it gives "),
        (OURS.replace("{{ model.max_batch_size }}", "64"), "the max_batch_size of stand-in must be 8, but it gives 64"),
        (OURS.replace('"onnxruntime"', '"python"'), "the backend of stand-in must be onnxruntime, but it gives python"),
        (
            OURS.replace("{{ tensor.name | quote }}", '"zz"', 1),
            "the inputs of stand-in must be [('input', 'TYPE_FP32', (3",
        ),
        ("{{ ''.__class__.__mro__ }}", "line 1: access to attribute '__class__' of 'str' object is unsafe"),
        ("{% include '../secret' %}", "../secret"),
        ("{{ 1 / 0 }}", "line 1: division by zero"),
    ],
)
def test_invalid_templates(tmp_path, template, sentence):
    """The error names the file and the line, before anything is built."""
    (tmp_path / "config.pbtxt.j2").write_text(template)
    (tmp_path.parent / "secret").write_text("name: 'x'")
    with pytest.raises(TemplateUnusable) as caught:
        check_templates(tmp_path)
    assert str(caught.value).startswith(f"template {tmp_path}/config.pbtxt.j2: ")
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_configs_are_frozen():
    """A step cannot change the result of another."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        configs("dpn92")["config.pbtxt"].name = "other"
