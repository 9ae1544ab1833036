"""Serving options: valid values, where they come from, and which one wins."""

import json
import tomllib

import pytest
from helpers import ROOT

import tritongen
from generator.commands.build import command
from generator.config import tensorrt_parameters
from generator.config.serving import SERVING, Serving, file_layers, in_force, read_file, shown, validated
from generator.config.targets import GPUS
from generator.config.types import ServingOptions
from generator.errors import BadValue, UnknownName
from generator.networks.architectures import DPNShape
from generator.networks.types import Network, Published

NAMES = ["densenet121", "dpn68", "dpn92"]
TINY = Network(
    "tiny-dpn", "TinyDPN", DPNShape(8, 3, 16, 8, 4, (1, 1, 1, 1), (4, 4, 4, 4)), Published(0, 0, 0, None, 0, 0)
)


def options(called=None, file="", network="dpn92", tmp_path=None):
    """Return the options of a network after the call and the file are combined."""
    layers = [("", validated(SERVING, called or {}))]
    if file:
        path = tmp_path / "serving.toml"
        path.write_text(file)
        layers = [*file_layers(path, read_file(path, NAMES), network), *layers]
    return in_force(layers, ("v100", "t4"))


def test_the_defaults_have_one_place():
    """An option that is not given has the default of ServingOptions, and `--help` shows that default."""
    assert options() == ServingOptions()
    assert list(Serving.__annotations__) == list(ServingOptions.__dataclass_fields__)
    params = {param.name: param for param in command.params if param.name in Serving.__annotations__}
    assert list(params) == list(Serving.__annotations__)
    words = {True: "on", False: "off", None: "set by TensorRT", (): True}
    assert {name: param.show_default for name, param in params.items()} == {
        name: words[value] if value in (None, ()) or isinstance(value, bool) else shown(value)
        for name, value in vars(ServingOptions()).items()
    }


@pytest.mark.parametrize(
    ("largest", "preferred", "profile"),
    [(1, (1,), (1, 1, 1)), (2, (2,), (1, 2, 2)), (4, (4,), (1, 4, 4)), (7, (4,), (1, 7, 7)), (64, (4, 8), (1, 64, 64))],
)
def test_what_follows_from_the_largest_batch(largest, preferred, profile):
    """The preferred batch sizes and the profile follow from max_batch_size."""
    found = options({"max_batch_size": largest})
    assert (found.preferred_batch_sizes, found.profile) == (preferred, profile)


def test_precedence(tmp_path):
    """Defaults < the file < its part on the network < the call; the accelerator's parameters one by one."""
    file = """
        max_batch_size = 16
        instance_count = 2
        accelerator = { trt_sparsity_enable = true, trt_min_subgraph_size = 3 }
        [models."DPN*"]
        instance_count = 3
        max_queue_delay_us = 500
        [models.dpn92]
        accelerator = { trt_min_subgraph_size = 5, trt_tactic_sources = "-CUDNN" }
    """
    found = options({"instance_count": 4, "accelerator": {"trt_sparsity_enable": "0"}}, file, "dpn92", tmp_path)
    assert (found.max_batch_size, found.instance_count, found.max_queue_delay_us) == (16, 4, 500)
    assert dict(found.accelerator) == {
        "trt_min_subgraph_size": "5", "trt_sparsity_enable": "0", "trt_tactic_sources": "-CUDNN",
    }  # fmt: skip
    assert options(None, file, "dpn68", tmp_path).instance_count == 3
    assert options(None, file, "densenet121", tmp_path).instance_count == 2
    assert dict(options(None, file, "densenet121", tmp_path).accelerator)["trt_min_subgraph_size"] == "3"


@pytest.mark.parametrize(
    ("called", "sentence"),
    [
        ({"max_batch_size": 0}, "max_batch_size=0: must be at least 1"),
        ({"max_batch_size": "8"}, "max_batch_size='8': must be a whole number"),
        ({"max_batch_size": True}, "max_batch_size=true: must be a whole number"),
        (
            {"preferred_batch_sizes": []},
            "preferred_batch_sizes=[]: must be a list of batch sizes, such as 4,8",
        ),
        ({"preferred_batch_sizes": [4, 16]}, "preferred_batch_sizes=4,16: the largest batch is 8"),
        ({"preferred_batch_sizes": [0]}, "preferred_batch_sizes=0: must be at least 1"),
        ({"max_queue_delay_us": -1}, "max_queue_delay_us=-1: must be at least 0"),
        ({"instance_count": 0}, "instance_count=0: must be at least 1"),
        ({"workspace_mib": 0}, "workspace_mib=0: must be at least 1"),
        ({"workspace_mib": 20000}, "workspace_mib=20000: a T4 has 16 GB of memory"),
        ({"profile": [1, 8]}, "profile=1,8: must be three ascending batch sizes"),
        ({"profile": [1, 4, 16]}, "profile=1,4,16: must end at the largest batch, 8"),
        ({"profile": [1, 4, 4]}, "profile=1,4,4: must end at the largest batch, 8"),
        ({"profile": [2, 4, 8]}, "profile=2,4,8: must begin at 1"),
        ({"profile": [1, 9, 8]}, "profile=1,9,8: must be three ascending batch sizes"),
        ({"builder_optimization_level": 6}, "builder_optimization_level=6: must be at most 5"),
        ({"response_cache": 1}, "response_cache=1: must be true or false"),
        (
            {"accelerator": {"trt_sparsity_enabel": "1"}},
            "accelerator=trt_sparsity_enabel='1': unknown parameter 'trt_sparsity_enabel'; did you mean "
            "trt_sparsity_enable?",
        ),
        ({"accelerator": {"trt_sparsity_enable": "yes"}}, "trt_sparsity_enable must be true or false"),
        ({"accelerator": {"trt_min_subgraph_size": "0"}}, "trt_min_subgraph_size must be 1 or more"),
        ({"accelerator": {"trt_min_subgraph_size": "many"}}, "trt_min_subgraph_size must be a whole number"),
        ({"accelerator": {"trt_ep_context_embed_mode": 2}}, "trt_ep_context_embed_mode must be from 0 to 1"),
        ({"accelerator": {"trt_tactic_sources": ""}}, "trt_tactic_sources must be a text"),
        ({"accelerator": {"precision_mode": "INT8"}}, "precision_mode is set by `precision`"),
        ({"accelerator": {"trt_profile_max_shapes": "x:9"}}, "trt_profile_max_shapes is set by `profile`"),
        ({"accelerator": {"trt_cuda_graph_enable": "1"}}, "a CUDA graph has one fixed shape"),
    ],
)
def test_invalid_values(called, sentence):
    """The error names the option, the value and the reason."""
    with pytest.raises(BadValue) as caught:
        options(called)
    assert sentence in str(caught.value)


def test_unknown_option():
    """The error in Python suggests the nearest name too."""
    with pytest.raises(UnknownName, match="there is no option named 'instances'"):
        options({"instances": 2})
    with pytest.raises(UnknownName) as caught:
        options({"max_batchsize": 2})
    assert caught.value.hint == "did you mean 'max_batch_size'?"


@pytest.mark.parametrize(
    ("file", "sentence", "hint"),
    [
        ("max_batchsize = 8", "there is no option in {file} named 'max_batchsize'", "'max_batch_size'"),
        ("[model.dpn92]\nwarmup = false", "there is no option in {file} named 'model'", "'models'"),
        ("[models.dpn93]\nwarmup = false", "there is no network for [models.dpn93] in {file} named 'dpn93'", "'dpn92'"),
        (
            "[models.dpn92]\nwarm_up = false",
            "there is no option in [models.dpn92] of {file} named 'warm_up'",
            "'warmup'",
        ),
        ("[models.dpn92]\nwarmup = 'no'", "{file}: [models.dpn92] warmup='no': must be true or false", None),
        ("max_batch_size = 8.0", "{file}: max_batch_size=8.0: must be a whole number", None),
        ("models = 3", "{file}: models=3: must be a table", None),
        ("[models]\ndpn92 = 3", "{file}: [models] dpn92=3: must be a table", None),
        ("max_batch_size = ", "config={file}: not TOML: Invalid value (at end of document)", None),
        (
            "[models.dpn92]\npreferred_batch_sizes = [4, 16]",
            "{file}: [models.dpn92] preferred_batch_sizes=4,16: the",
            None,
        ),
        (
            "accelerator = ['trt_sparsity_enable']",
            "{file}: accelerator='trt_sparsity_enable': must be a table",
            None,
        ),
        ("a = " + "[" * 5000, "config={file}: not TOML", None),
    ],
)
def test_invalid_files(tmp_path, file, sentence, hint):
    """The error names the file, table, key, value and reason, and suggests a name for a typo."""
    with pytest.raises((BadValue, UnknownName)) as caught:
        options(None, file, "dpn92", tmp_path)
    assert sentence.format(file=tmp_path / "serving.toml") in str(caught.value)
    assert hint is None or hint in caught.value.hint


def test_unreadable_files(tmp_path):
    """A missing file, a folder, and bytes that are not text are errors."""
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    for name, why in (("none.toml", "no such file"), (".", "is a directory"), ("binary.toml", "not UTF-8")):
        with pytest.raises(BadValue, match=why):
            read_file(tmp_path / name, NAMES)


def test_a_file_changes_config_and_provenance(tmp_path, monkeypatch):
    """build() writes the options of the file into the config and provenance.json."""
    monkeypatch.setattr("generator.networks.NETWORKS", (TINY,))
    (tmp_path / "serving.toml").write_text(
        'max_batch_size = 16\n[models."tiny*"]\nprofile = [1, 2, 16]\nwarmup = false\n'
    )
    (built,) = tritongen.build(output=tmp_path / "repo", config=tmp_path / "serving.toml", instance_count=2).built
    text = (built.folder / "configs" / "v100-fp32.pbtxt").read_text()
    assert "input:2x3x224x224" in text
    assert "model_warmup" not in text
    assert json.loads((built.folder / "provenance.json").read_text())["options"]["serving"] == {
        "max_batch_size": 16, "preferred_batch_sizes": [4, 8], "max_queue_delay_us": 100, "instance_count": 2,
        "workspace_mib": 1024, "profile": [1, 2, 16], "builder_optimization_level": None, "response_cache": False,
        "warmup": False, "accelerator": {},
    }  # fmt: skip


CALLS = [
    ("--max-batch-size 0", "--max-batch-size 0: must be at least 1"),
    ("--max-batch-size many", "Invalid value for '--max-batch-size': 'many' is not a valid integer."),
    ("--preferred-batch-sizes 4,16", "--preferred-batch-sizes 4,16: the largest batch is 8"),
    ("--preferred-batch-sizes 4,x", "Invalid value for '--preferred-batch-sizes': 'x' is not a whole number"),
    ("--profile 1,4,16", "--profile 1,4,16: must end at the largest batch, 8"),
    ("--accelerator trt_sparsity_enabel=1", "unknown parameter 'trt_sparsity_enabel'; did you mean"),
    ("--accelerator trt_sparsity_enable", "Invalid value for '--accelerator': 'trt_sparsity_enable' is not KEY=VALUE"),
    ("--config none.toml", "--config none.toml: no such file or directory"),
    ("--config typo.toml", "there is no option in typo.toml named 'max_batchsize'"),
    ("--template-dir none", "--template-dir none: has no config.pbtxt.j2"),
    ("--template-dir wrong", "template wrong/config.pbtxt.j2: line 1: 'nmae' is undefined"),
    ("--gpu h100", "there is no GPU named 'h100'"),
    ("--gpu=", "--gpu '': no GPU is named"),
]


@pytest.mark.parametrize(("call", "sentence"), CALLS, ids=[call for call, _ in CALLS])
def test_errors_on_the_command_line(tritongen, tmp_path, call, sentence):
    """Exit status 2, one sentence, and nothing is written."""
    (tmp_path / "typo.toml").write_text("max_batchsize = 8\n")
    (tmp_path / "wrong").mkdir()
    (tmp_path / "wrong" / "config.pbtxt.j2").write_text("name: {{ nmae }}\n")
    ran = tritongen("build", "--models", "densenet121", *call.split())
    assert ran.status == 2
    assert sentence in ran.stderr
    assert ran.stderr.count("error:") == 1
    assert not (tmp_path / "model_repository").exists()


def test_the_table_of_the_accelerators_parameters():
    """The table has every documented key once; keys that configs always have cannot be set by users."""
    assert len(tensorrt_parameters.BY_KEY) == len(tensorrt_parameters.PARAMETERS) == 32
    assert all(row.since <= "24.05" for row in tensorrt_parameters.PARAMETERS), (
        "the oldest image of every target knows it"
    )
    assert {row.kind for row in tensorrt_parameters.PARAMETERS if row.option == "precision"} == {"precision"}
    assert {gpu.windows["fp32"].first for gpu in GPUS} == {"24.05"}


def test_the_documented_file(tmp_path):
    """The example of the how-to guide is valid."""
    page = (ROOT / "docs" / "how-to" / "serving-options.md").read_text()
    example = page.split("```toml\n")[1].split("```")[0]
    assert tomllib.loads(example)
    assert options(None, example, "dpn92", tmp_path) != ServingOptions()
